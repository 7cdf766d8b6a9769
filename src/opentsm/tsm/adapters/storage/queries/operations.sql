-- name: add
INSERT INTO operations (
    id, version, tenant_id, se_id, instance_id, state, priority, created_at, valid_until, document, plan_document,
    type, turn, issuer_id
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
    (SELECT issuer_id FROM secure_elements WHERE id = $4)
)
ON CONFLICT DO NOTHING

-- name: get
SELECT document, plan_document, version FROM operations WHERE id = $1

-- name: hold
SELECT version FROM operations WHERE id = $1 FOR NO KEY UPDATE

-- name: save
UPDATE operations SET
    tenant_id = $3, se_id = $4, instance_id = $5, state = $6, priority = $7, created_at = $8, valid_until = $9,
    document = $10, plan_document = $11, type = $12, turn = $13, version = version + 1
WHERE id = $1 AND version = $2

-- name: next_queued
SELECT document, plan_document, version FROM operations
WHERE se_id = $1 AND state IN ('REQUESTED', 'QUEUED')
ORDER BY turn, id LIMIT 1

-- Lists: what leads the index comes first, every other filter is tested on the rows that it finds.
-- The first two parameters bound the ids: the cursor, and the time with which ids begin.

-- part: filters
    AND ($4::text IS NULL OR tenant_id = $4)
    AND ($5::text IS NULL OR issuer_id = $5)
    AND ($6::text IS NULL OR se_id = $6)
    AND ($7::text IS NULL OR instance_id = $7)
    AND ($8::text IS NULL OR state = $8)
    AND ($9::text IS NULL OR type = $9)
    AND ($10::timestamptz IS NULL OR created_at >= $10)
    AND ($11::timestamptz IS NULL OR created_at < $11)

-- name: list_of_instance, both ways
SELECT document, plan_document, version FROM operations
WHERE instance_id = $7
    AND id > $1 AND id < $2
-- filters
ORDER BY id LIMIT $3

-- name: list_on_secure_element, both ways
SELECT document, plan_document, version FROM operations
WHERE se_id = $6
    AND id > $1 AND id < $2
-- filters
ORDER BY id LIMIT $3

-- name: list_of_tenant_in_state, both ways
SELECT document, plan_document, version FROM operations
WHERE tenant_id = $4
    AND state = $8
    AND id > $1 AND id < $2
-- filters
ORDER BY id LIMIT $3

-- name: list_of_tenant, both ways
SELECT document, plan_document, version FROM operations
WHERE tenant_id = $4
    AND id > $1 AND id < $2
-- filters
ORDER BY id LIMIT $3

-- name: list_of_issuer_in_state, both ways
SELECT document, plan_document, version FROM operations
WHERE issuer_id = $5
    AND state = $8
    AND id > $1 AND id < $2
-- filters
ORDER BY id LIMIT $3

-- name: list_of_issuer, both ways
SELECT document, plan_document, version FROM operations
WHERE issuer_id = $5
    AND id > $1 AND id < $2
-- filters
ORDER BY id LIMIT $3

-- name: list_in_state, both ways
SELECT document, plan_document, version FROM operations
WHERE state = $8
    AND id > $1 AND id < $2
-- filters
ORDER BY id LIMIT $3

-- name: list, both ways
SELECT document, plan_document, version FROM operations
WHERE id > $1 AND id < $2
-- filters
ORDER BY id LIMIT $3

-- name: expired
SELECT document, plan_document, version FROM operations
WHERE valid_until IS NOT NULL AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND valid_until < $1
ORDER BY valid_until, id LIMIT $2

-- name: count_open
SELECT state, count(*) AS found FROM operations
WHERE state = ANY ($1::text[]) AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
GROUP BY state
