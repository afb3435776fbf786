"""Alembic migrations with their SQL beside them."""
