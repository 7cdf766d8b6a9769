-- name: add
INSERT INTO prepared_data (provider_id, id, service_id, name, version_tag, sealed, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING

-- name: use
UPDATE prepared_data SET sealed = $3, instance_id = $4, operation_id = $5
WHERE provider_id = $1 AND id = $2 AND instance_id IS NULL

-- name: get
SELECT * FROM prepared_data WHERE provider_id = $1 AND id = $2

-- name: named
SELECT p.* FROM unnest($3::text[]) AS wanted (name)
CROSS JOIN LATERAL (
    SELECT * FROM prepared_data WHERE provider_id = $1 AND service_id = $2 AND name = wanted.name LIMIT 1
) AS p
LIMIT 3

-- name: list
SELECT * FROM prepared_data
WHERE provider_id = $1 AND id > $2 AND ($4::text IS NULL OR service_id = $4) ORDER BY id LIMIT $3

-- name: remove
DELETE FROM prepared_data WHERE provider_id = $1 AND id = $2
