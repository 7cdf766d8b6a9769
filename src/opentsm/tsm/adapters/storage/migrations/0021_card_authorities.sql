-- Whom a party trusts for the cards of a profile, and its own certificate of that authority.
CREATE TABLE card_authorities (
    party_id text COLLATE "C" NOT NULL,
    profile  text COLLATE "C" NOT NULL,
    document text NOT NULL,
    PRIMARY KEY (party_id, profile)
);
