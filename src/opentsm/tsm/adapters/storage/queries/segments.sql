-- name: add
INSERT INTO segments (owner_id, id, version, se_id, operation_id, sd_aid, state, sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING

-- name: get
SELECT * FROM segments WHERE owner_id = $1 AND id = $2

-- name: save
UPDATE segments SET
    se_id = $4, operation_id = $5, sd_aid = $6, state = $7, sealed = $8, version = version + 1
WHERE owner_id = $1 AND id = $2 AND version = $3
