-- The registry: subscriptions, network operators, data of secure elements, and what happened to them.

-- A subscription's name stands here as a keyed digest; only `readers` find it, or everybody when it is null.
ALTER TABLE se_identifiers
    ADD COLUMN subscription_id text COLLATE "C",
    ADD COLUMN readers         text[] COLLATE "C";
CREATE INDEX se_identifiers_subscription ON se_identifiers (subscription_id) WHERE subscription_id IS NOT NULL;

-- `name` is the keyed digest of the identifier, null once the subscription ended; `sealed` the identifier.
CREATE TABLE subscriptions (
    id         text COLLATE "C" PRIMARY KEY,
    owner_id   text COLLATE "C" NOT NULL,
    name       text COLLATE "C",
    se_id      text COLLATE "C",
    document   text NOT NULL,
    sealed     bytea NOT NULL,
    version    bigint NOT NULL,
    UNIQUE (owner_id, name)
);
CREATE INDEX subscriptions_owner ON subscriptions (owner_id, id);
CREATE INDEX subscriptions_se ON subscriptions (se_id, id) WHERE se_id IS NOT NULL;

CREATE TABLE network_operators (
    id         text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    document   text NOT NULL,
    version    bigint NOT NULL
);

-- Data of secure elements by their digest: a batch of a million shares one row.
CREATE TABLE se_data (
    issuer_id  text COLLATE "C" NOT NULL,
    digest     text COLLATE "C" NOT NULL,
    document   text NOT NULL,
    PRIMARY KEY (issuer_id, digest)
);

-- A provider's own note about a secure element; opens with the hub's keystore only.
CREATE TABLE sp_data (
    se_id       text COLLATE "C" NOT NULL REFERENCES secure_elements (id) ON DELETE CASCADE,
    provider_id text COLLATE "C" NOT NULL,
    sealed      bytea NOT NULL,
    PRIMARY KEY (se_id, provider_id)
);
CREATE INDEX sp_data_provider ON sp_data (provider_id);

-- What happened to a subscription or a secure element; rows are only added.
CREATE TABLE registry_history (
    subject    text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    document   text NOT NULL,
    PRIMARY KEY (subject, id)
);
