-- name: look_up
SELECT i.type, i.issuer_id AS owner_id, i.sandbox, i.subscription_id, i.readers,
    s.document AS se, s.version, d.document AS data
FROM se_identifiers i
JOIN secure_elements s ON s.id = i.se_id
LEFT JOIN se_data d ON d.issuer_id = s.issuer_id AND d.digest = s.document::jsonb ->> 'data'
WHERE i.value = ANY ($1::text[]) AND ($2::text IS NULL OR i.type = $2)
    AND ($3::boolean IS NULL OR i.sandbox = $3)
LIMIT $4

-- name: put_data
INSERT INTO se_data (issuer_id, digest, document)
SELECT $1, n.digest, n.document FROM unnest($2::text[], $3::text[]) AS n (digest, document)
ON CONFLICT DO NOTHING

-- name: data
SELECT document FROM se_data WHERE issuer_id = $1 AND digest = $2

-- name: put_sp_data
INSERT INTO sp_data (se_id, provider_id, sealed) VALUES ($1, $2, $3)
ON CONFLICT (se_id, provider_id) DO UPDATE SET sealed = excluded.sealed

-- name: remove_sp_data
DELETE FROM sp_data WHERE se_id = $1 AND provider_id = $2

-- name: sp_data
SELECT se_id, provider_id, sealed FROM sp_data WHERE se_id = $1 AND provider_id = $2

-- name: add_history
INSERT INTO registry_history (subject, id, document)
SELECT n.subject, n.id, n.document FROM unnest($1::text[], $2::text[], $3::text[]) AS n (subject, id, document)

-- name: history
SELECT document FROM registry_history WHERE subject = $3 AND id > $1 ORDER BY id LIMIT $2
