"""Consumers of events for those outside: groups, checkpoints, an inbox that drops repeats."""
