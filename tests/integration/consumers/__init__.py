"""Consumers of events over real servers."""
