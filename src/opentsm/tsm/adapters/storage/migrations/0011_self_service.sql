-- runs: 0010
-- A device names a service without knowing whose it is.
CREATE INDEX catalogue_self_service ON catalogue (id) WHERE entity = 'self-service';
