"""Client of the platform's own HTTP API, used by the operator's CLI."""
