"""The catalogue: one file a part of the platform, each with its `MUTANTS`."""
