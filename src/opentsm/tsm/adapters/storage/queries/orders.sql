-- name: add
INSERT INTO device_orders (
    se_id, sequence, version, operation_id, state, sealed_commands, body, sealed_answer, delivered, device_id
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING

-- name: current
SELECT * FROM device_orders WHERE se_id = $1 AND state <> 'CONSUMED' ORDER BY sequence DESC LIMIT 1

-- name: get
SELECT * FROM device_orders WHERE se_id = $1 AND sequence = $2

-- name: save
UPDATE device_orders SET
    operation_id = $4, state = $5, sealed_commands = $6, body = $7, sealed_answer = $8, delivered = $9,
    device_id = $10, version = version + 1
WHERE se_id = $1 AND sequence = $2 AND version = $3
