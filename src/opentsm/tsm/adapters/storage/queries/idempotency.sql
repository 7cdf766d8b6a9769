-- name: find
SELECT digest, status, response FROM idempotency_keys WHERE tenant_id = $1 AND key = $2

-- name: put
INSERT INTO idempotency_keys (tenant_id, key, digest, status, response, created_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
