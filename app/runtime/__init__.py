"""Embedded servers under a process supervisor."""
