-- Reads all rows, while everybody goes on writing.
ALTER TABLE runs VALIDATE CONSTRAINT runs_origin_known;
