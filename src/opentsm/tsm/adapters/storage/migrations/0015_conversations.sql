-- Conversations of providers' own TSMs, their scripts, and the names that providers give to instances.
CREATE TABLE conversations (
    tenant_id    text COLLATE "C" NOT NULL,
    id           bigint NOT NULL,
    version      integer NOT NULL,
    document     text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- `sealed_result` opens with the hub's keystore only, and goes when the row has expired.
CREATE TABLE conversation_scripts (
    tenant_id       text COLLATE "C" NOT NULL,
    conversation_id bigint NOT NULL,
    number          integer NOT NULL,
    version         integer NOT NULL,
    document        text NOT NULL,
    sealed_result   bytea NOT NULL,
    expires_at      timestamptz,
    PRIMARY KEY (tenant_id, conversation_id, number)
);
CREATE INDEX conversation_scripts_age ON conversation_scripts (expires_at, tenant_id, conversation_id, number);

CREATE TABLE service_references (
    provider_id  text COLLATE "C" NOT NULL,
    owner        text COLLATE "C" NOT NULL,
    reference    text COLLATE "C" NOT NULL,
    instance_id  text COLLATE "C" NOT NULL,
    qualifier    text NOT NULL,
    PRIMARY KEY (provider_id, owner, reference)
);
CREATE INDEX service_references_instance ON service_references (instance_id);
