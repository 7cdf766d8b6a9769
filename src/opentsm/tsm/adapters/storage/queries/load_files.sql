-- name: put_block
INSERT INTO load_file_blocks (sha256, block) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: block
SELECT block FROM load_file_blocks WHERE sha256 = $1
