-- name: put
INSERT INTO peerings (tenant_id, key_id, url, document) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, key_id) DO UPDATE SET url = excluded.url, document = excluded.document

-- name: remove
DELETE FROM peerings WHERE tenant_id = $1 AND key_id = $2

-- name: find
SELECT document FROM peerings WHERE tenant_id = $1 AND key_id = $2

-- name: of_party
SELECT document FROM peerings WHERE tenant_id = $1 ORDER BY key_id LIMIT $2

-- name: elsewhere
SELECT document FROM peerings WHERE url <> '' AND tenant_id > $1 ORDER BY tenant_id LIMIT $2
