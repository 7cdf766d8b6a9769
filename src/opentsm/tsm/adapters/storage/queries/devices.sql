-- name: add_code
INSERT INTO enrolment_codes (digest, expires_at, document) VALUES ($1, $2, $3)

-- name: take_code
DELETE FROM enrolment_codes WHERE digest = $1 AND expires_at > $2 RETURNING document

-- name: add
INSERT INTO devices (id, tenant_id, document) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: get
SELECT document FROM devices WHERE id = $1

-- name: hold
SELECT document FROM devices WHERE id = $1 FOR SHARE

-- name: lock
SELECT document FROM devices WHERE id = $1 FOR NO KEY UPDATE

-- name: list
SELECT document FROM devices WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3

-- name: end_sessions
DELETE FROM device_sessions WHERE device_id = $1

-- name: save
UPDATE devices SET tenant_id = $2, document = $3 WHERE id = $1

-- name: add_session
WITH old AS (
    DELETE FROM device_sessions WHERE device_id = $2 AND expires_at < $5
)
INSERT INTO device_sessions (digest, device_id, expires_at, document, se_id) VALUES ($1, $2, $3, $4, $6)

-- name: session
SELECT document FROM device_sessions WHERE digest = $1

-- name: save_session
UPDATE device_sessions SET device_id = $2, expires_at = $3, document = $4 WHERE digest = $1

-- name: remember_assertion
WITH old AS (
    DELETE FROM device_assertions WHERE device_id = $1 AND jti <> $2 AND expires_at < $4
)
INSERT INTO device_assertions (device_id, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
