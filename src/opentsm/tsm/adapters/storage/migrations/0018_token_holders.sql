-- To whom a token was issued: receipts are handed in by its holder.
ALTER TABLE tokens ADD COLUMN provider_id text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX tokens_holder ON tokens (se_id, provider_id, number);
