-- runs: 0001
-- Calls to others: endpoints that parties registered, and what is to be told to them.

CREATE TABLE webhooks (
    id            text COLLATE "C" PRIMARY KEY,
    version       integer NOT NULL,
    tenant_id     text COLLATE "C" NOT NULL REFERENCES tenants (id),
    enabled       boolean NOT NULL,
    failing_since timestamptz,
    document      text NOT NULL
);
CREATE INDEX webhooks_tenant ON webhooks (tenant_id, id);

CREATE TABLE deliveries (
    id           text COLLATE "C" PRIMARY KEY,
    version      integer NOT NULL,
    tenant_id    text COLLATE "C" NOT NULL REFERENCES tenants (id),
    target_id    text COLLATE "C" NOT NULL,
    lane         smallint NOT NULL,
    instance_id  text COLLATE "C",
    pending      boolean NOT NULL,
    next_at      timestamptz,
    ended_at     timestamptz,
    body         bytea NOT NULL,
    document     text NOT NULL
);
CREATE INDEX deliveries_target ON deliveries (target_id, id);
CREATE INDEX deliveries_tenant ON deliveries (tenant_id, id);
CREATE INDEX deliveries_instance ON deliveries (instance_id, id) WHERE instance_id IS NOT NULL;
CREATE INDEX deliveries_pending ON deliveries (target_id, lane, next_at, id) WHERE pending;
CREATE INDEX deliveries_age ON deliveries (ended_at, id) WHERE ended_at IS NOT NULL;

-- A lane of a target that has something to send: one delivery at a time, by whoever leased it.
-- Whoever writes a delivery brings due_at forward and leaves held_until alone, which is a lease or a rest.
CREATE TABLE delivery_lanes (
    target_id   text COLLATE "C" NOT NULL,
    lane        smallint NOT NULL,
    kind        text NOT NULL,
    due_at      timestamptz NOT NULL,
    held_until  timestamptz NOT NULL,
    leased      boolean NOT NULL,
    failures    integer NOT NULL,
    ready_at    timestamptz GENERATED ALWAYS AS (greatest(due_at, held_until)) STORED,
    PRIMARY KEY (target_id, lane)
) WITH (fillfactor = 70);
CREATE INDEX delivery_lanes_ready ON delivery_lanes (ready_at, target_id, lane);
