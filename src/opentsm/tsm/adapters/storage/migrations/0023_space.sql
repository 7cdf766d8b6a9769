-- What providers may use of secure elements, what operations have reserved there, and what parts took.
CREATE TABLE space_quotas (
    id          text COLLATE "C" PRIMARY KEY,
    setter_id   text COLLATE "C" NOT NULL,
    provider_id text COLLATE "C" NOT NULL,  -- '': every provider without one of its own
    target      text COLLATE "C" NOT NULL,
    document    text NOT NULL,
    version     bigint NOT NULL
);
CREATE UNIQUE INDEX space_quotas_for ON space_quotas (setter_id, provider_id, target);
CREATE INDEX space_quotas_setter ON space_quotas (setter_id, id);
CREATE INDEX space_quotas_provider ON space_quotas (provider_id, id);

CREATE TABLE space_reservations (
    operation_id text COLLATE "C" PRIMARY KEY,
    se_id        text COLLATE "C" NOT NULL,
    document     text NOT NULL
);
CREATE INDEX space_reservations_element ON space_reservations (se_id, operation_id);

CREATE TABLE space_sizes (
    issuer_id text COLLATE "C" NOT NULL,
    profile   text COLLATE "C" NOT NULL,
    part      text COLLATE "C" NOT NULL,
    bytes     bigint NOT NULL,
    PRIMARY KEY (issuer_id, profile, part)
);
