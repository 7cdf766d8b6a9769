-- name: add
INSERT INTO service_instances (
    id, version, provider_id, se_id, state, document, sealed_data,
    service_id, version_tag, flavor_id, applications, created_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT DO NOTHING

-- name: add_applications
INSERT INTO instance_applications (instance_id, provider_id, aid)
SELECT $1, $2, a.aid FROM unnest($3::text[]) AS a (aid)

-- name: remove_applications
DELETE FROM instance_applications WHERE instance_id = $1

-- name: get
SELECT document, sealed_data, version FROM service_instances WHERE id = $1

-- name: hold
SELECT version FROM service_instances WHERE id = $1 FOR NO KEY UPDATE

-- name: save
UPDATE service_instances i SET
    provider_id = $3, se_id = $4, state = $5, document = $6, sealed_data = $7, service_id = $8,
    version_tag = $9, flavor_id = $10, applications = $11, created_at = $12, version = i.version + 1
FROM (SELECT id, applications FROM service_instances WHERE id = $1) AS old
WHERE i.id = old.id AND i.version = $2
RETURNING old.applications <> $11 AS others

-- name: on_secure_element
SELECT document, sealed_data, version FROM service_instances
WHERE se_id = $1 AND state <> 'TERMINATED' ORDER BY id

-- Lists: what leads the index comes first, every other filter is tested on the rows that it finds.
-- The first two parameters bound the ids: the cursor, and the time with which ids begin.

-- part: filters
    AND ($4::text IS NULL OR i.provider_id = $4)
    AND ($5::text IS NULL OR i.se_id = $5)
    AND ($6::text IS NULL OR i.service_id = $6)
    AND ($7::text IS NULL OR i.version_tag = $7)
    AND ($8::text IS NULL OR i.flavor_id = $8)
    AND ($9::text IS NULL OR i.state = $9)
    AND ($10::text IS NULL OR $10 = ANY (i.applications))
    AND ($11::timestamptz IS NULL OR i.created_at >= $11)
    AND ($12::timestamptz IS NULL OR i.created_at < $12)

-- name: list_on_secure_element, both ways
SELECT i.document, i.sealed_data, i.version FROM service_instances i
WHERE i.se_id = $5
    AND i.id > $1 AND i.id < $2
-- filters
ORDER BY i.id LIMIT $3

-- name: list_with_application, both ways
SELECT i.document, i.sealed_data, i.version FROM instance_applications a JOIN service_instances i ON i.id = a.instance_id
WHERE a.provider_id = $4
    AND a.aid = $10
    AND a.instance_id > $1 AND a.instance_id < $2
-- filters
ORDER BY a.instance_id LIMIT $3

-- name: list_of_flavor, both ways
SELECT i.document, i.sealed_data, i.version FROM service_instances i
WHERE i.provider_id = $4
    AND i.flavor_id = $8
    AND i.id > $1 AND i.id < $2
-- filters
ORDER BY i.id LIMIT $3

-- name: list_of_version, both ways
SELECT i.document, i.sealed_data, i.version FROM service_instances i
WHERE i.provider_id = $4
    AND i.service_id = $6
    AND i.version_tag = $7
    AND i.id > $1 AND i.id < $2
-- filters
ORDER BY i.id LIMIT $3

-- name: list_of_service, both ways
SELECT i.document, i.sealed_data, i.version FROM service_instances i
WHERE i.provider_id = $4
    AND i.service_id = $6
    AND i.id > $1 AND i.id < $2
-- filters
ORDER BY i.id LIMIT $3

-- name: list_in_state, both ways
SELECT i.document, i.sealed_data, i.version FROM service_instances i
WHERE i.provider_id = $4
    AND i.state = $9
    AND i.id > $1 AND i.id < $2
-- filters
ORDER BY i.id LIMIT $3

-- name: list_of_provider, both ways
SELECT i.document, i.sealed_data, i.version FROM service_instances i
WHERE i.provider_id = $4
    AND i.id > $1 AND i.id < $2
-- filters
ORDER BY i.id LIMIT $3

-- name: list, both ways
SELECT i.document, i.sealed_data, i.version FROM service_instances i
WHERE i.id > $1 AND i.id < $2
-- filters
ORDER BY i.id LIMIT $3
