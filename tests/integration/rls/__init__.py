"""Tests of Row-Level Security over a real PostgreSQL."""
