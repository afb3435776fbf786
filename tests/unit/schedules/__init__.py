"""Tests of the timetable of schedules."""
