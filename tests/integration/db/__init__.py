"""Tests of the SQL functions over a real PostgreSQL."""
