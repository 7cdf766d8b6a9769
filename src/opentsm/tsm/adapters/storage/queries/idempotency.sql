-- name: find
SELECT digest, status, response FROM idempotency_keys WHERE tenant_id = $1 AND key = $2

-- name: claim
INSERT INTO idempotency_keys (tenant_id, key, digest, status, response, created_at)
VALUES ($1, $2, $3, 0, $4, $5) ON CONFLICT DO NOTHING

-- name: put
INSERT INTO idempotency_keys (tenant_id, key, digest, status, response, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, key) DO UPDATE SET status = excluded.status, response = excluded.response
WHERE idempotency_keys.status = 0 AND idempotency_keys.digest = excluded.digest
