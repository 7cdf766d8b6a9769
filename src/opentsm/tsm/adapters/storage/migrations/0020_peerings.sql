-- Other TSMs: where a party lives elsewhere (with a url), or who may ask for one that lives here.
CREATE TABLE peerings (
    tenant_id  text COLLATE "C" NOT NULL REFERENCES tenants (id),
    key_id     text COLLATE "C" NOT NULL,
    url        text NOT NULL,
    document   text NOT NULL,
    PRIMARY KEY (tenant_id, key_id)
);
CREATE UNIQUE INDEX peerings_elsewhere ON peerings (tenant_id) WHERE url <> '';

-- Key sets that two parties know: only these are handed over.
ALTER TABLE key_sets ADD COLUMN temporary boolean NOT NULL DEFAULT false;
