-- name: put_block
-- The update holds a block that is there: nobody removes it before this transaction has ended.
INSERT INTO load_file_blocks (sha256, block) VALUES ($1, $2)
ON CONFLICT (sha256) DO UPDATE SET sha256 = excluded.sha256

-- name: own_block
INSERT INTO load_file_owners (sha256, owner_id) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: block
SELECT block FROM load_file_blocks WHERE sha256 = $1

-- name: block_of
SELECT b.block FROM load_file_owners o JOIN load_file_blocks b ON b.sha256 = o.sha256
WHERE o.sha256 = $1 AND o.owner_id = $2
