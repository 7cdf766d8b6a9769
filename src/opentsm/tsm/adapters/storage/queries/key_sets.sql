-- name: get
SELECT * FROM key_sets WHERE owner_id = $1 AND se_id = $2 AND sd_aid = $3 AND kvn = $4

-- name: list
SELECT * FROM key_sets WHERE owner_id = $1 AND se_id = $2 ORDER BY sd_aid, kvn

-- name: list_of_domain
SELECT * FROM key_sets WHERE owner_id = $1 AND se_id = $2 AND sd_aid = $3 ORDER BY kvn

-- name: put
INSERT INTO key_sets (owner_id, se_id, sd_aid, kvn, scp, key_length, source, state, counter, kcvs,
    temporary)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (owner_id, se_id, sd_aid, kvn) DO UPDATE SET
    scp = excluded.scp, key_length = excluded.key_length, source = excluded.source,
    state = excluded.state, counter = excluded.counter, kcvs = excluded.kcvs, temporary = excluded.temporary
