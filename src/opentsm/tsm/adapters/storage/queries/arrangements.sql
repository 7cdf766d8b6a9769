-- name: add
INSERT INTO arrangements (id, issuer_id, document, version) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING

-- name: get
SELECT document, version FROM arrangements WHERE id = $1

-- name: hold
SELECT document, version FROM arrangements WHERE id = $1 FOR SHARE

-- name: list
SELECT document, version FROM arrangements WHERE id > $1 ORDER BY id LIMIT $2

-- name: list_of_issuer
SELECT document, version FROM arrangements WHERE issuer_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: save
UPDATE arrangements SET document = $3, version = version + 1 WHERE id = $1 AND version = $2

-- name: in_use
SELECT 1 AS used FROM secure_elements WHERE document::jsonb ->> 'arrangement_id' = $1 LIMIT 1
