-- runs: 0001
-- Operations that have not ended, by state: for the metrics, and small however many have ended.
CREATE INDEX operations_open ON operations (state) WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
