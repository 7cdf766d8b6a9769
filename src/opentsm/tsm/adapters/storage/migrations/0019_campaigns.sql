-- runs: 0018
-- Campaigns. Members are written once; where each stands is counted, by shards, in the same transaction.
CREATE TABLE campaigns (
    id           text COLLATE "C" PRIMARY KEY,
    version      integer NOT NULL,
    tenant_id    text COLLATE "C" NOT NULL REFERENCES tenants (id),
    leased_until timestamptz NOT NULL DEFAULT '1970-01-01T00:00:00Z',
    document     text NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX campaigns_tenant ON campaigns (tenant_id, id);

CREATE TABLE campaign_members (
    campaign_id  text COLLATE "C" NOT NULL,
    position     integer NOT NULL,
    subject_id   text COLLATE "C" NOT NULL,
    state        text COLLATE "C" NOT NULL DEFAULT 'WAITING',
    operation_id text COLLATE "C",
    code         text NOT NULL DEFAULT '',
    detail       text NOT NULL DEFAULT '',
    ended_at     timestamptz,
    PRIMARY KEY (campaign_id, position)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX campaign_members_subject ON campaign_members (campaign_id, subject_id);
CREATE INDEX campaign_members_state ON campaign_members (campaign_id, state, position);
CREATE INDEX campaign_members_ended ON campaign_members (campaign_id, ended_at, position)
    WHERE state IN ('SUCCEEDED', 'FAILED');

CREATE TABLE campaign_counts (
    campaign_id text COLLATE "C" NOT NULL,
    shard       smallint NOT NULL,
    open        integer NOT NULL,
    succeeded   integer NOT NULL,
    failed      integer NOT NULL,
    skipped     integer NOT NULL,
    cancelled   integer NOT NULL,
    PRIMARY KEY (campaign_id, shard)
) WITH (fillfactor = 50);
