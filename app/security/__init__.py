"""Tokens, passwords, secrets, policies."""
