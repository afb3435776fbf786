"""Celery doors, the beat table, the built-in operations."""
