"""Tests of the operators' hands on real workers."""
