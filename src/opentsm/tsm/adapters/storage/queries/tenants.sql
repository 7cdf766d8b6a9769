-- name: add
INSERT INTO tenants (id, kind, name, document) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: get
SELECT document FROM tenants WHERE id = $1

-- name: by_name
SELECT document FROM tenants WHERE kind = $1 AND name = $2

-- name: list
SELECT document FROM tenants WHERE id > $1 ORDER BY id LIMIT $2

-- name: add_token
WITH old AS (
    DELETE FROM access_tokens WHERE tenant_id = $2 AND subject = $3 AND expires_at < $6
)
INSERT INTO access_tokens (digest, tenant_id, subject, expires_at, document, person)
VALUES ($1, $2, $3, $4, $5, $7)

-- name: find_token
SELECT a.document AS token, t.document AS tenant
FROM access_tokens a JOIN tenants t ON t.id = a.tenant_id
WHERE a.digest = $1

-- name: tokens
SELECT document FROM access_tokens WHERE tenant_id = $1 AND digest > $2 ORDER BY digest LIMIT $3

-- name: live_tokens
SELECT count(*) AS count, min(expires_at) AS first FROM access_tokens
WHERE tenant_id = $1 AND subject = $2 AND expires_at > $3

-- name: persons
SELECT DISTINCT person FROM access_tokens WHERE tenant_id = $1 AND person <> '' ORDER BY person LIMIT $2

-- name: remove_token
DELETE FROM access_tokens WHERE digest = $1

-- name: revoke_tokens
DELETE FROM access_tokens WHERE tenant_id = $1 AND subject = $2
