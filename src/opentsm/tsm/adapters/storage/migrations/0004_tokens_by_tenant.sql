-- runs: 0001
-- A party's tokens are listed by their digest.
CREATE INDEX access_tokens_tenant ON access_tokens (tenant_id, digest);
