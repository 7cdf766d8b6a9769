-- name: add
INSERT INTO conversations (tenant_id, id, version, document) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING

-- name: get
SELECT document, version FROM conversations WHERE tenant_id = $1 AND id = $2

-- name: save
UPDATE conversations SET document = $4, version = version + 1
WHERE tenant_id = $1 AND id = $2 AND version = $3

-- name: add_script
INSERT INTO conversation_scripts (
    tenant_id, conversation_id, number, version, document, sealed_result, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING

-- name: script
SELECT document, sealed_result, version FROM conversation_scripts
WHERE tenant_id = $1 AND conversation_id = $2 AND number = $3

-- name: save_script
UPDATE conversation_scripts SET document = $5, sealed_result = $6, expires_at = $7, version = version + 1
WHERE tenant_id = $1 AND conversation_id = $2 AND number = $3 AND version = $4

-- name: add_reference
INSERT INTO service_references (provider_id, owner, reference, instance_id, qualifier)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING

-- name: reference
SELECT * FROM service_references WHERE provider_id = $1 AND owner = $2 AND reference = $3

-- name: references_of
SELECT * FROM service_references WHERE instance_id = ANY ($1::text[]) LIMIT 200
