-- name: add_quota
INSERT INTO space_quotas (id, setter_id, provider_id, target, document, version)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING

-- name: quota
SELECT document, version FROM space_quotas WHERE id = $1

-- name: save_quota
UPDATE space_quotas SET document = $3, version = version + 1 WHERE id = $1 AND version = $2

-- name: remove_quota
DELETE FROM space_quotas WHERE id = $1 AND version = $2

-- name: quotas
SELECT document, version FROM space_quotas WHERE id > $1 ORDER BY id LIMIT $2

-- name: quotas_of_setter
SELECT document, version FROM space_quotas WHERE setter_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: quotas_of_provider
SELECT document, version FROM space_quotas WHERE provider_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: quota_for
SELECT document, version FROM space_quotas WHERE setter_id = $1 AND provider_id = $2 AND target = $3

-- name: reserve
INSERT INTO space_reservations (operation_id, se_id, document) VALUES ($1, $2, $3)
ON CONFLICT (operation_id) DO UPDATE SET document = EXCLUDED.document

-- name: reservation
SELECT document FROM space_reservations WHERE operation_id = $1

-- name: reservations
SELECT document FROM space_reservations WHERE se_id = $1 ORDER BY operation_id

-- name: release
DELETE FROM space_reservations WHERE operation_id = $1

-- name: sizes
SELECT found.part, found.bytes FROM unnest($3::text[]) AS wanted (part)
CROSS JOIN LATERAL (
    SELECT part, bytes FROM space_sizes WHERE issuer_id = $1 AND profile = $2 AND part = wanted.part LIMIT 1
) AS found

-- name: learn
INSERT INTO space_sizes (issuer_id, profile, part, bytes)
SELECT $1, $2, part, bytes FROM unnest($3::text[], $4::bigint[]) AS found (part, bytes)
ON CONFLICT (issuer_id, profile, part) DO UPDATE SET bytes = EXCLUDED.bytes
