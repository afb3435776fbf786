"""The only broker or stream code."""
