-- name: get
SELECT document FROM card_authorities WHERE party_id = $1 AND profile = $2

-- name: list
SELECT document FROM card_authorities WHERE party_id = $1 ORDER BY profile

-- name: put
INSERT INTO card_authorities (party_id, profile, document) VALUES ($1, $2, $3)
ON CONFLICT (party_id, profile) DO UPDATE SET document = excluded.document

-- name: remove
DELETE FROM card_authorities WHERE party_id = $1 AND profile = $2
