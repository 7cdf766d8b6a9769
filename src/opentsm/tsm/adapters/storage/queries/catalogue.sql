-- name: lock
SELECT id FROM tenants WHERE id = $1 FOR NO KEY UPDATE

-- name: put
INSERT INTO catalogue (owner_id, entity, id, parent, document) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (owner_id, entity, id) DO UPDATE SET parent = excluded.parent, document = excluded.document

-- name: put_file
INSERT INTO catalogue_files (owner_id, entity, id, file) VALUES ($1, $2, $3, $4)
ON CONFLICT (owner_id, entity, id) DO UPDATE SET file = excluded.file

-- name: get
SELECT document FROM catalogue WHERE owner_id = $1 AND entity = $2 AND id = $3

-- name: file
SELECT file FROM catalogue_files WHERE owner_id = $1 AND entity = $2 AND id = $3

-- name: list
SELECT document FROM catalogue WHERE owner_id = $1 AND entity = $2 ORDER BY id

-- name: list_of_parent
SELECT document FROM catalogue WHERE owner_id = $1 AND entity = $2 AND parent = $3 ORDER BY id

-- name: self_service_owner
SELECT owner_id FROM catalogue WHERE entity = 'self-service' AND id = $1

-- name: delete
DELETE FROM catalogue WHERE owner_id = $1 AND entity = $2 AND id = $3
