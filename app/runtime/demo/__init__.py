"""The demo: every promise of the main job shown on this machine, each claim checked."""
