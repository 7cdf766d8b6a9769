-- name: add
INSERT INTO service_instances (id, version, provider_id, se_id, state, document, sealed_data)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING

-- name: get
SELECT document, sealed_data, version FROM service_instances WHERE id = $1

-- name: save
UPDATE service_instances
SET provider_id = $3, se_id = $4, state = $5, document = $6, sealed_data = $7, version = version + 1
WHERE id = $1 AND version = $2

-- name: on_secure_element
SELECT document, sealed_data, version FROM service_instances
WHERE se_id = $1 AND state <> 'TERMINATED' ORDER BY id

-- name: list
SELECT document, sealed_data, version FROM service_instances
WHERE id > $1 ORDER BY id LIMIT $2

-- name: list_of_provider
SELECT document, sealed_data, version FROM service_instances
WHERE provider_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: list_on_secure_element
SELECT document, sealed_data, version FROM service_instances
WHERE se_id = $3 AND ($4::text IS NULL OR provider_id = $4) AND id > $1 ORDER BY id LIMIT $2
