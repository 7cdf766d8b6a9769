-- name: add
INSERT INTO secure_elements (id, issuer_id, identifiers, document, version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING

-- name: add_identifiers
INSERT INTO se_identifiers (issuer_id, se_id, type, value, sandbox)
SELECT $1, $2, i.type, i.value, $5 FROM unnest($3::text[], $4::text[]) AS i (type, value)
ON CONFLICT DO NOTHING

-- name: remove_identifiers
DELETE FROM se_identifiers WHERE se_id = $1

-- name: get
SELECT document, version FROM secure_elements WHERE id = $1

-- name: hold
SELECT document, version FROM secure_elements WHERE id = $1 FOR NO KEY UPDATE

-- name: find
SELECT DISTINCT s.id, s.document, s.version
FROM se_identifiers i JOIN secure_elements s ON s.id = i.se_id
WHERE i.value = $1 AND ($2::text IS NULL OR i.type = $2) AND ($3::boolean IS NULL OR i.sandbox = $3)
LIMIT 2

-- name: find_of_issuer
SELECT DISTINCT s.id, s.document, s.version
FROM se_identifiers i JOIN secure_elements s ON s.id = i.se_id
WHERE i.issuer_id = $4 AND i.value = $1 AND ($2::text IS NULL OR i.type = $2)
    AND ($3::boolean IS NULL OR i.sandbox = $3)
LIMIT 2

-- name: list
SELECT document, version FROM secure_elements WHERE id > $1 ORDER BY id LIMIT $2

-- name: list_of_issuer
SELECT document, version FROM secure_elements WHERE issuer_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: bound_to
SELECT document, version FROM secure_elements WHERE document::jsonb ->> 'device_id' = $1

-- name: reserved_for
SELECT document, version FROM secure_elements WHERE document::jsonb ->> 'reserved_for' = $1

-- name: in_session_with
SELECT s.document, s.version
FROM device_sessions d JOIN secure_elements s ON s.id = d.se_id
WHERE d.device_id = $1 AND d.expires_at > $2

-- name: save
UPDATE secure_elements s SET identifiers = $3, document = $4, version = s.version + 1
FROM (SELECT id, identifiers FROM secure_elements WHERE id = $1) AS old
WHERE s.id = old.id AND s.version = $2
RETURNING old.identifiers <> $3 AS renamed

-- name: content
SELECT document FROM se_contents WHERE se_id = $1

-- name: save_content
INSERT INTO se_contents (se_id, document) VALUES ($1, $2)
ON CONFLICT (se_id) DO UPDATE SET document = excluded.document

-- name: claims
SELECT document FROM se_claims WHERE se_id = $1

-- name: save_claims
INSERT INTO se_claims (se_id, document) VALUES ($1, $2)
ON CONFLICT (se_id) DO UPDATE SET document = excluded.document
