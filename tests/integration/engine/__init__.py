"""Tests of the engine over real servers, in this process."""
