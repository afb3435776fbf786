"""Each sink of the relay with what a test must be able to do to it."""
