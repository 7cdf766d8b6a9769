-- name: turn
SELECT * FROM device_turns WHERE se_id = $1

-- name: put_turn
INSERT INTO device_turns (se_id, sequence, device_id, since) VALUES ($1, $2, $3, $4)
ON CONFLICT (se_id) DO UPDATE
SET sequence = excluded.sequence, device_id = excluded.device_id, since = excluded.since

-- name: trials
SELECT device_id, failures, last_at, barred FROM device_trials WHERE se_id = $1 ORDER BY device_id

-- name: fail
INSERT INTO device_trials AS t (se_id, device_id, failures, last_at, barred) VALUES ($1, $2, 1, $3, $4)
ON CONFLICT (se_id, device_id) DO UPDATE
SET failures = t.failures + 1, last_at = excluded.last_at, barred = t.barred OR excluded.barred

-- name: rivals
SELECT device_id FROM device_sessions WHERE se_id = $1 AND expires_at > $2 ORDER BY expires_at LIMIT $3

-- name: clear_turn
DELETE FROM device_turns WHERE se_id = $1

-- name: clear_trials
DELETE FROM device_trials WHERE se_id = $1
