-- Personalisation data that wait for their instance; `sealed` opens with the provider's keystore only.
CREATE TABLE prepared_data (
    provider_id  text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    service_id   text COLLATE "C" NOT NULL,
    name         text COLLATE "C" NOT NULL,
    version_tag  text COLLATE "C",
    sealed       bytea NOT NULL,
    instance_id  text COLLATE "C",
    operation_id text COLLATE "C",
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (provider_id, id),
    UNIQUE (service_id, provider_id, name)
);
CREATE INDEX prepared_data_age ON prepared_data (expires_at, provider_id, id);
