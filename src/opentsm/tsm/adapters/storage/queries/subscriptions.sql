-- name: add
INSERT INTO subscriptions (id, owner_id, name, se_id, document, sealed, version)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING

-- name: get
SELECT document, sealed, version FROM subscriptions WHERE id = $1

-- name: named
SELECT document, sealed, version FROM subscriptions WHERE owner_id = $1 AND name = $2

-- name: list
SELECT document, sealed, version FROM subscriptions WHERE owner_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: of_secure_element
SELECT document, sealed, version FROM subscriptions WHERE se_id = $1 ORDER BY id LIMIT $2

-- name: save
UPDATE subscriptions SET name = $3, se_id = $4, document = $5, sealed = $6, version = version + 1
WHERE id = $1 AND version = $2

-- name: remove_name
DELETE FROM se_identifiers WHERE subscription_id = $1

-- name: add_name
INSERT INTO se_identifiers (issuer_id, type, value, se_id, sandbox, subscription_id, readers)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
