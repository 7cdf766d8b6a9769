-- name: add
INSERT INTO approvals (id, tenant_id, state, document, version) VALUES ($1, $2, $3, $4, $5)

-- name: get
SELECT document, version FROM approvals WHERE id = $1

-- name: list
SELECT document, version FROM approvals WHERE tenant_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: list_in_state
SELECT document, version FROM approvals WHERE tenant_id = $3 AND state = $4 AND id > $1 ORDER BY id LIMIT $2

-- name: save
UPDATE approvals SET state = $3, document = $4, version = version + 1 WHERE id = $1 AND version = $2
