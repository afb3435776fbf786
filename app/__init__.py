"""The platform: everything but the Celery doors, the pure planner and the migrations."""
