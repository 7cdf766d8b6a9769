-- name: add
INSERT INTO webhooks (id, version, tenant_id, enabled, failing_since, document)
VALUES ($1, $2, $3, $4, $5, $6)

-- name: get
SELECT document, version, enabled, failing_since FROM webhooks WHERE id = $1

-- name: save
UPDATE webhooks SET version = version + 1, tenant_id = $3, enabled = $4, failing_since = $5, document = $6
WHERE id = $1 AND version = $2

-- name: remove
DELETE FROM webhooks WHERE id = $1

-- name: list
SELECT document, version, enabled, failing_since FROM webhooks
WHERE tenant_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: of_tenants
SELECT document, version, enabled, failing_since FROM webhooks WHERE tenant_id = ANY ($1::text[])

-- name: failing
UPDATE webhooks SET failing_since = coalesce(failing_since, $2) WHERE id = $1

-- name: works
UPDATE webhooks SET failing_since = NULL WHERE id = $1
