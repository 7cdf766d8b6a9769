-- name: add
INSERT INTO network_operators (id, name, document, version) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: get
SELECT document, version FROM network_operators WHERE id = $1

-- name: list
SELECT document, version FROM network_operators WHERE id > $1 ORDER BY id LIMIT $2

-- name: save
UPDATE network_operators SET name = $3, document = $4, version = version + 1 WHERE id = $1 AND version = $2
