-- Tokens of delegated management, as the party that issued them keeps them.
CREATE SEQUENCE token_numbers AS bigint;

CREATE TABLE tokens (
    owner_id       text COLLATE "C" NOT NULL,
    request_id     text COLLATE "C" NOT NULL,
    position       integer NOT NULL,
    number         bigint NOT NULL UNIQUE,
    se_id          text COLLATE "C" NOT NULL,
    state          text NOT NULL,
    counter        integer,
    document       text NOT NULL,
    sealed_command bytea NOT NULL,
    PRIMARY KEY (owner_id, request_id, position)
);
CREATE INDEX tokens_se ON tokens (owner_id, se_id, number);
CREATE INDEX tokens_counter ON tokens (owner_id, se_id, counter) WHERE counter IS NOT NULL;
