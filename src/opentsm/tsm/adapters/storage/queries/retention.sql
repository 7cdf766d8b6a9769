-- The LIMIT in a lateral join keeps it a look-up by key for each row, whatever the planner knows.

-- name: prune_orders
WITH old AS MATERIALIZED (
    SELECT t.se_id, t.sequence FROM device_orders t
    CROSS JOIN LATERAL (
    SELECT FROM operations WHERE id = t.operation_id AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED') LIMIT 1
) AS ended
    WHERE t.state = 'CONSUMED' AND t.operation_id < $1
    ORDER BY t.operation_id, t.se_id, t.sequence LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM device_orders t USING old WHERE t.se_id = old.se_id AND t.sequence = old.sequence

-- name: due_orders
SELECT count(*) AS found FROM device_orders t
    CROSS JOIN LATERAL (
    SELECT FROM operations WHERE id = t.operation_id AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED') LIMIT 1
) AS ended
WHERE t.state = 'CONSUMED' AND t.operation_id < $1

-- name: prune_segments
WITH old AS MATERIALIZED (
    SELECT t.owner_id, t.id FROM segments t
    -- an operation that is not here belongs to another TSM, which ended it long ago
    WHERE t.operation_id < $1 AND NOT EXISTS (
        SELECT FROM operations WHERE id = t.operation_id AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
    )
    ORDER BY t.operation_id, t.owner_id, t.id LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM segments t USING old WHERE t.owner_id = old.owner_id AND t.id = old.id

-- name: due_segments
SELECT count(*) AS found FROM segments t
WHERE t.operation_id < $1 AND NOT EXISTS (
    SELECT FROM operations WHERE id = t.operation_id AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
)

-- name: prune_idempotency_keys
WITH old AS MATERIALIZED (
    SELECT t.tenant_id, t.key FROM idempotency_keys t
    WHERE t.created_at < $1
    ORDER BY t.created_at, t.tenant_id, t.key LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM idempotency_keys t USING old WHERE t.tenant_id = old.tenant_id AND t.key = old.key

-- name: due_idempotency_keys
SELECT count(*) AS found FROM idempotency_keys t
WHERE t.created_at < $1

-- name: prune_enrolment_codes
WITH old AS MATERIALIZED (
    SELECT t.digest FROM enrolment_codes t
    WHERE t.expires_at < $1
    ORDER BY t.expires_at, t.digest LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM enrolment_codes t USING old WHERE t.digest = old.digest

-- name: due_enrolment_codes
SELECT count(*) AS found FROM enrolment_codes t
WHERE t.expires_at < $1

-- name: prune_device_sessions
WITH old AS MATERIALIZED (
    SELECT t.digest FROM device_sessions t
    WHERE t.expires_at < $1
    ORDER BY t.expires_at, t.digest LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM device_sessions t USING old WHERE t.digest = old.digest

-- name: due_device_sessions
SELECT count(*) AS found FROM device_sessions t
WHERE t.expires_at < $1

-- name: prune_device_assertions
WITH old AS MATERIALIZED (
    SELECT t.device_id, t.jti FROM device_assertions t
    WHERE t.expires_at < $1
    ORDER BY t.expires_at, t.device_id, t.jti LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM device_assertions t USING old WHERE t.device_id = old.device_id AND t.jti = old.jti

-- name: due_device_assertions
SELECT count(*) AS found FROM device_assertions t
WHERE t.expires_at < $1

-- name: prune_access_tokens
WITH old AS MATERIALIZED (
    SELECT t.digest FROM access_tokens t
    WHERE t.expires_at IS NOT NULL AND t.expires_at < $1
    ORDER BY t.expires_at, t.digest LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM access_tokens t USING old WHERE t.digest = old.digest

-- name: due_access_tokens
SELECT count(*) AS found FROM access_tokens t
WHERE t.expires_at IS NOT NULL AND t.expires_at < $1

-- name: prune_prepared_data
WITH old AS MATERIALIZED (
    SELECT t.provider_id, t.id FROM prepared_data t
    WHERE t.expires_at < $1
    ORDER BY t.expires_at, t.provider_id, t.id LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM prepared_data t USING old WHERE t.provider_id = old.provider_id AND t.id = old.id

-- name: due_prepared_data
SELECT count(*) AS found FROM prepared_data t
WHERE t.expires_at < $1

-- name: prune_deliveries
WITH old AS MATERIALIZED (
    SELECT t.id FROM deliveries t
    WHERE t.ended_at IS NOT NULL AND t.ended_at < $1
    ORDER BY t.ended_at, t.id LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM deliveries t USING old WHERE t.id = old.id

-- name: due_deliveries
SELECT count(*) AS found FROM deliveries t
WHERE t.ended_at IS NOT NULL AND t.ended_at < $1

-- name: prune_conversation_scripts
WITH old AS MATERIALIZED (
    SELECT t.tenant_id, t.conversation_id, t.number FROM conversation_scripts t
    WHERE t.expires_at < $1
    ORDER BY t.expires_at, t.tenant_id, t.conversation_id, t.number LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM conversation_scripts t USING old
WHERE t.tenant_id = old.tenant_id AND t.conversation_id = old.conversation_id AND t.number = old.number

-- name: due_conversation_scripts
SELECT count(*) AS found FROM conversation_scripts t
WHERE t.expires_at < $1

-- name: prune_imports
WITH old AS MATERIALIZED (
    SELECT t.id FROM import_jobs t
    WHERE t.updated_at < $1
    ORDER BY t.updated_at, t.id LIMIT $2 FOR UPDATE OF t SKIP LOCKED
)
DELETE FROM import_jobs t USING old WHERE t.id = old.id

-- name: due_imports
SELECT count(*) AS found FROM import_jobs t
WHERE t.updated_at < $1
