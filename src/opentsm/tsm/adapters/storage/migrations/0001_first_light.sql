-- The first schema. Nothing here is newer than PostgreSQL 15.
-- Identifiers are texts made by the TSM (UUID version 7); they are compared byte by byte (COLLATE "C").
-- `document` is the record as canonical JSON; the columns beside it are what queries need.

CREATE TABLE tenants (
    id         text COLLATE "C" PRIMARY KEY,
    kind       text NOT NULL,
    name       text NOT NULL,
    document   text NOT NULL,
    UNIQUE (kind, name)
);

CREATE TABLE access_tokens (
    digest     bytea PRIMARY KEY,
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    subject    text NOT NULL,
    expires_at timestamptz,
    document   text NOT NULL
);
CREATE INDEX access_tokens_subject ON access_tokens (tenant_id, subject);

CREATE TABLE secure_elements (
    id          text COLLATE "C" PRIMARY KEY,
    issuer_id   text COLLATE "C" NOT NULL,
    identifiers text NOT NULL,
    document    text NOT NULL,
    version     bigint NOT NULL
);
CREATE INDEX secure_elements_issuer ON secure_elements (issuer_id, id);

CREATE TABLE se_identifiers (
    issuer_id  text COLLATE "C" NOT NULL,
    type       text COLLATE "C" NOT NULL,
    value      text COLLATE "C" NOT NULL,
    se_id      text COLLATE "C" NOT NULL REFERENCES secure_elements (id) ON DELETE CASCADE,
    PRIMARY KEY (issuer_id, value, type)
);
CREATE INDEX se_identifiers_value ON se_identifiers (value, type);
CREATE INDEX se_identifiers_se ON se_identifiers (se_id);

CREATE TABLE se_contents (
    se_id      text COLLATE "C" PRIMARY KEY REFERENCES secure_elements (id) ON DELETE CASCADE,
    document   text NOT NULL
);

CREATE TABLE se_claims (
    se_id      text COLLATE "C" PRIMARY KEY REFERENCES secure_elements (id) ON DELETE CASCADE,
    document   text NOT NULL
);

-- `source` says where the keys are found: a handle and derivation data, or a sealed blob; never a clear key.
CREATE TABLE key_sets (
    owner_id   text COLLATE "C" NOT NULL,
    se_id      text COLLATE "C" NOT NULL,
    sd_aid     text COLLATE "C" NOT NULL,
    kvn        smallint NOT NULL,
    scp        smallint NOT NULL,
    key_length smallint NOT NULL,
    source     text NOT NULL,
    state      text NOT NULL,
    counter    bigint,
    kcvs       bytea[] NOT NULL,
    PRIMARY KEY (owner_id, se_id, sd_aid, kvn)
);

CREATE TABLE enrolment_codes (
    digest     bytea PRIMARY KEY,
    expires_at timestamptz NOT NULL,
    document   text NOT NULL
);

CREATE TABLE devices (
    id         text COLLATE "C" PRIMARY KEY,
    tenant_id  text COLLATE "C" NOT NULL,
    document   text NOT NULL
);
CREATE INDEX devices_tenant ON devices (tenant_id, id);

CREATE TABLE device_sessions (
    digest     bytea PRIMARY KEY,
    device_id  text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    document   text NOT NULL
);
CREATE INDEX device_sessions_device ON device_sessions (device_id, expires_at);

CREATE TABLE device_assertions (
    device_id  text COLLATE "C" NOT NULL,
    jti        text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, jti)
);

CREATE TABLE service_instances (
    id          text COLLATE "C" PRIMARY KEY,
    provider_id text COLLATE "C" NOT NULL,
    se_id       text COLLATE "C" NOT NULL,
    state       text NOT NULL,
    document    text NOT NULL,
    sealed_data bytea NOT NULL,
    version     bigint NOT NULL
);
CREATE INDEX service_instances_provider ON service_instances (provider_id, id);
CREATE INDEX service_instances_se ON service_instances (se_id, id);
CREATE INDEX service_instances_live ON service_instances (se_id, id) WHERE state <> 'TERMINATED';

CREATE TABLE operations (
    id            text COLLATE "C" PRIMARY KEY,
    tenant_id     text COLLATE "C" NOT NULL,
    se_id         text COLLATE "C" NOT NULL,
    issuer_id     text COLLATE "C",
    instance_id   text COLLATE "C",
    state         text NOT NULL,
    priority      integer NOT NULL,
    created_at    timestamptz NOT NULL,
    valid_until   timestamptz,
    document      text NOT NULL,
    plan_document bytea NOT NULL,
    version       bigint NOT NULL
);
CREATE INDEX operations_tenant ON operations (tenant_id, id);
CREATE INDEX operations_se ON operations (se_id, id);
CREATE INDEX operations_issuer ON operations (issuer_id, id);
CREATE INDEX operations_instance ON operations (instance_id, id) WHERE instance_id IS NOT NULL;
CREATE INDEX operations_queue ON operations (se_id, priority, created_at, id)
    WHERE state IN ('REQUESTED', 'QUEUED');
CREATE INDEX operations_validity ON operations (valid_until, id)
    WHERE valid_until IS NOT NULL AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED');

CREATE TABLE device_orders (
    se_id           text COLLATE "C" NOT NULL,
    sequence        bigint NOT NULL,
    operation_id    text COLLATE "C" NOT NULL,
    state           text NOT NULL,
    sealed_commands bytea NOT NULL,
    body            integer NOT NULL,
    sealed_answer   bytea NOT NULL,
    delivered       integer NOT NULL,
    device_id       text COLLATE "C",
    version         bigint NOT NULL,
    PRIMARY KEY (se_id, sequence)
);
CREATE INDEX device_orders_open ON device_orders (se_id, sequence) WHERE state <> 'CONSUMED';

CREATE TABLE segments (
    owner_id     text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    se_id        text COLLATE "C" NOT NULL,
    operation_id text COLLATE "C" NOT NULL,
    sd_aid       text COLLATE "C" NOT NULL,
    state        text NOT NULL,
    sealed       bytea NOT NULL,
    version      bigint NOT NULL,
    PRIMARY KEY (owner_id, id)
);

CREATE TABLE load_file_blocks (
    sha256     text COLLATE "C" PRIMARY KEY,
    block      bytea NOT NULL
);

CREATE TABLE catalogue (
    owner_id   text COLLATE "C" NOT NULL,
    entity     text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    parent     text COLLATE "C" NOT NULL,
    document   text NOT NULL,
    PRIMARY KEY (owner_id, entity, id)
);
CREATE INDEX catalogue_parent ON catalogue (owner_id, entity, parent, id);

CREATE TABLE catalogue_files (
    owner_id   text COLLATE "C" NOT NULL,
    entity     text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    file       bytea NOT NULL,
    PRIMARY KEY (owner_id, entity, id),
    FOREIGN KEY (owner_id, entity, id) REFERENCES catalogue (owner_id, entity, id) ON DELETE CASCADE
);

-- `due_at` is when a waiting message may be claimed, or when the lease of a claimed one ends.
CREATE TABLE outbox (
    id         text COLLATE "C" PRIMARY KEY,
    kind       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    body       text NOT NULL,
    claimed    boolean NOT NULL DEFAULT false,
    due_at     timestamptz NOT NULL,
    attempts   integer NOT NULL DEFAULT 0,
    last_error text
);
CREATE UNIQUE INDEX outbox_waiting ON outbox (kind, key) WHERE NOT claimed;
CREATE INDEX outbox_due ON outbox (due_at, id);

CREATE TABLE audit_heads (
    tenant_id  text COLLATE "C" NOT NULL,
    shard      smallint NOT NULL,
    number     bigint NOT NULL,
    digest     bytea NOT NULL,
    PRIMARY KEY (tenant_id, shard)
);

CREATE TABLE audit_entries (
    tenant_id  text COLLATE "C" NOT NULL,
    shard      smallint NOT NULL,
    number     bigint NOT NULL,
    at         timestamptz NOT NULL,
    actor      text NOT NULL,
    action     text NOT NULL,
    subject    text COLLATE "C" NOT NULL,
    details    text NOT NULL,
    previous   bytea NOT NULL,
    PRIMARY KEY (tenant_id, shard, number)
);
CREATE INDEX audit_entries_time ON audit_entries (tenant_id, at, shard, number);
CREATE INDEX audit_entries_subject ON audit_entries (tenant_id, subject, number);

CREATE TABLE idempotency_keys (
    tenant_id  text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    digest     bytea NOT NULL,
    status     smallint NOT NULL,
    response   bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
