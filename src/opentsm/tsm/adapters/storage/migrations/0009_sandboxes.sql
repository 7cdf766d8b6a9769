-- Names of secure elements are looked up on one side of the sandbox border only.
ALTER TABLE se_identifiers ADD COLUMN sandbox boolean NOT NULL DEFAULT false;
