-- runs: 0001
-- Everything here is added beside what older releases know: they go on without it.

-- Value transactions, one row each: an id is good for one credit on a secure element, for ever.
CREATE TABLE se_credits (
    se_id          text COLLATE "C" NOT NULL REFERENCES secure_elements (id) ON DELETE CASCADE,
    transaction_id text COLLATE "C" NOT NULL,
    instance_id    text COLLATE "C" NOT NULL,
    application    text COLLATE "C" NOT NULL,
    amount         bigint NOT NULL,
    outcome        text NOT NULL,
    PRIMARY KEY (se_id, transaction_id)
);

-- Who has the turn with a secure element that is bound to no device: an order goes to one at a time.
CREATE TABLE device_turns (
    se_id      text COLLATE "C" PRIMARY KEY REFERENCES secure_elements (id) ON DELETE CASCADE,
    sequence   bigint NOT NULL,
    device_id  text COLLATE "C" NOT NULL,
    since      timestamptz NOT NULL
);

-- Devices that had a turn with such a secure element and did not prove the card.
-- `barred` ones answered with a wrong cryptogram: they get no further turn.
CREATE TABLE device_trials (
    se_id      text COLLATE "C" NOT NULL REFERENCES secure_elements (id) ON DELETE CASCADE,
    device_id  text COLLATE "C" NOT NULL,
    failures   integer NOT NULL,
    last_at    timestamptz NOT NULL,
    barred     boolean NOT NULL,
    PRIMARY KEY (se_id, device_id)
);

-- For the retention. Ids of operations begin with the time at which they were requested (UUID version 7).
CREATE INDEX device_orders_age ON device_orders (operation_id, se_id, sequence) WHERE state = 'CONSUMED';
CREATE INDEX segments_age ON segments (operation_id, owner_id, id);

ALTER TABLE device_sessions ADD COLUMN se_id text COLLATE "C";
CREATE INDEX device_sessions_se ON device_sessions (se_id, expires_at) WHERE se_id IS NOT NULL;

CREATE INDEX device_sessions_age ON device_sessions (expires_at, digest);
CREATE INDEX device_assertions_age ON device_assertions (expires_at, device_id, jti);
CREATE INDEX enrolment_codes_age ON enrolment_codes (expires_at, digest);
CREATE INDEX access_tokens_age ON access_tokens (expires_at, digest) WHERE expires_at IS NOT NULL;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at, tenant_id, key);

-- A checkpoint holds the heads that moved since the one before; together they cover all chains.
CREATE TABLE audit_checkpoints (
    number     bigint PRIMARY KEY,
    at         timestamptz NOT NULL,
    heads      integer NOT NULL,
    digest     bytea NOT NULL,
    previous   bytea NOT NULL,
    key        text NOT NULL,
    signature  bytea NOT NULL
);

CREATE TABLE audit_checkpoint_heads (
    tenant_id  text COLLATE "C" NOT NULL,
    shard      smallint NOT NULL,
    checkpoint bigint NOT NULL REFERENCES audit_checkpoints (number),
    number     bigint NOT NULL,
    digest     bytea NOT NULL,
    PRIMARY KEY (tenant_id, shard, checkpoint)
);
CREATE INDEX audit_checkpoint_heads_of ON audit_checkpoint_heads (checkpoint, tenant_id, shard);

-- This stops mistakes; against whoever owns the tables the signatures stand.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER audit_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_checkpoint_heads_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON audit_checkpoint_heads FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
