"""Benchmarks: the platform beside bare Celery, on one machine, alternating in one run."""
