-- name: get
SELECT * FROM se_credits WHERE se_id = $1 AND transaction_id = $2

-- name: put
-- An id that was used for another credit changes nothing.
INSERT INTO se_credits AS c (se_id, transaction_id, instance_id, application, amount, outcome)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (se_id, transaction_id) DO UPDATE SET outcome = excluded.outcome
WHERE c.application = excluded.application AND c.amount = excluded.amount
    AND c.instance_id IN (excluded.instance_id, '')
