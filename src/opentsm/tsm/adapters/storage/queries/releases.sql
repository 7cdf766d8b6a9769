-- name: add
INSERT INTO applet_submissions (id, submitter_id, reviewer_id, sha256, state, document, version)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: get
SELECT document, version FROM applet_submissions WHERE id = $1

-- name: save
UPDATE applet_submissions SET state = $3, document = $4, version = version + 1 WHERE id = $1 AND version = $2

-- name: submitted_by
SELECT document, version FROM applet_submissions WHERE submitter_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: for_reviewer
SELECT document, version FROM applet_submissions WHERE reviewer_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: released
SELECT document, version FROM applet_submissions
WHERE sha256 = ANY ($1::text[]) AND reviewer_id = $2 AND state = 'RELEASED'

-- name: note
INSERT INTO release_events (submission_id, number, document) VALUES ($1, $2, $3)

-- name: history
SELECT document FROM release_events WHERE submission_id = $1 ORDER BY number

-- name: policy
SELECT document FROM release_policies WHERE owner_id = $1

-- name: policies
SELECT document FROM release_policies WHERE owner_id = ANY ($1::text[])

-- name: put_policy
INSERT INTO release_policies (owner_id, document) VALUES ($1, $2)
ON CONFLICT (owner_id) DO UPDATE SET document = excluded.document

-- name: known_bad
SELECT document FROM known_bad WHERE owner_id = $1 ORDER BY id

-- name: add_known_bad
INSERT INTO known_bad (owner_id, id, document) VALUES ($1, $2, $3)

-- name: remove_known_bad
DELETE FROM known_bad WHERE owner_id = $1 AND id = $2

-- name: rids
SELECT rids FROM party_rids WHERE party_id = $1

-- name: put_rids
INSERT INTO party_rids (party_id, rids) VALUES ($1, $2::text[])
ON CONFLICT (party_id) DO UPDATE SET rids = excluded.rids
