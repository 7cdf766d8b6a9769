-- Four eyes: acts that wait for a second person, and whose person a token is.
CREATE TABLE approvals (
    id        text COLLATE "C" PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL REFERENCES tenants (id),
    state     text COLLATE "C" NOT NULL,
    document  text NOT NULL,
    version   bigint NOT NULL
);
CREATE INDEX approvals_tenant ON approvals (tenant_id, id);
CREATE INDEX approvals_state ON approvals (tenant_id, state, id);

ALTER TABLE access_tokens ADD COLUMN person text NOT NULL DEFAULT '';
CREATE INDEX access_tokens_person ON access_tokens (tenant_id, person) WHERE person <> '';
