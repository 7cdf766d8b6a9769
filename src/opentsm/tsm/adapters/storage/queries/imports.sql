-- name: add
INSERT INTO import_jobs (id, owner_id, updated_at, document, version) VALUES ($1, $2, $3, $4, $5)

-- name: get
SELECT document, version FROM import_jobs WHERE id = $1

-- name: list
SELECT document, version FROM import_jobs WHERE owner_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: save
UPDATE import_jobs SET updated_at = $3, document = $4, version = version + 1 WHERE id = $1 AND version = $2

-- name: hold
SELECT document, version FROM import_jobs WHERE id = $1 FOR SHARE

-- name: add_part
INSERT INTO import_parts (job_id, number, "end", digest, sealed) VALUES ($1, $2, $3, $4, $5)

-- name: part
SELECT job_id, number, "end", digest, sealed FROM import_parts WHERE job_id = $1 AND number = $2

-- name: last_part
SELECT job_id, number, "end", digest, ''::bytea AS sealed FROM import_parts
WHERE job_id = $1 ORDER BY number DESC LIMIT 1

-- name: empty_parts
UPDATE import_parts SET sealed = '' WHERE job_id = $1 AND number BETWEEN $2 AND $3

-- name: add_refusals
INSERT INTO import_refusals (job_id, line, code, detail, field)
SELECT $1, n.line, n.code, n.detail, n.field
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS n (line, code, detail, field)

-- name: refusals
SELECT line, code, detail, field FROM import_refusals WHERE job_id = $1 AND line > $2 ORDER BY line LIMIT $3

-- name: named
SELECT s.document, s.version FROM se_identifiers i JOIN secure_elements s ON s.id = i.se_id
WHERE i.issuer_id = $1 AND i.value = ANY ($2::text[])

-- name: key_sets
SELECT k.se_id, k.sd_aid, k.kvn, k.kcvs
FROM key_sets k WHERE k.owner_id = $1 AND k.se_id = ANY ($2::text[])

-- name: add_elements
INSERT INTO secure_elements (id, issuer_id, identifiers, document, version)
SELECT n.id, $1, n.identifiers, n.document, 0
FROM unnest($2::text[], $3::text[], $4::text[]) AS n (id, identifiers, document)

-- name: add_names
INSERT INTO se_identifiers (issuer_id, se_id, type, value, sandbox)
SELECT $1, n.se_id, n.type, n.value, $2 FROM unnest($3::text[], $4::text[], $5::text[]) AS n (se_id, type, value)
ON CONFLICT DO NOTHING

-- name: add_key_sets
-- Each has three check values of three bytes.
INSERT INTO key_sets (owner_id, se_id, sd_aid, kvn, scp, key_length, source, state, counter, kcvs)
SELECT $1, n.se_id, n.sd_aid, n.kvn, n.scp, n.key_length, n.source, n.state, n.counter,
    ARRAY[substring(n.kcvs, 1, 3), substring(n.kcvs, 4, 3), substring(n.kcvs, 7, 3)]
FROM unnest(
    $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::smallint[], $7::text[], $8::text[],
    $9::bigint[], $10::bytea[]
) AS n (se_id, sd_aid, kvn, scp, key_length, source, state, counter, kcvs)
