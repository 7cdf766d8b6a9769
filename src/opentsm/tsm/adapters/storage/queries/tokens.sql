-- name: numbers
WITH wanted AS (SELECT generate_series(1, $1::integer))
SELECT nextval('token_numbers') AS number FROM wanted

-- name: add
INSERT INTO tokens
    (owner_id, request_id, position, number, se_id, provider_id, state, counter, document, sealed_command)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING

-- name: of_request
SELECT document, sealed_command FROM tokens WHERE owner_id = $1 AND request_id = $2 ORDER BY position

-- name: save
UPDATE tokens SET state = $4, counter = $5, document = $6
WHERE owner_id = $1 AND request_id = $2 AND position = $3

-- name: last_counter
SELECT counter FROM tokens WHERE owner_id = $1 AND se_id = $2 AND counter IS NOT NULL
ORDER BY counter DESC LIMIT 1

-- name: on_secure_element
SELECT document, sealed_command FROM tokens WHERE owner_id = $1 AND se_id = $2 ORDER BY number DESC LIMIT $3
