"""The commands of `quantum`, one group a file."""
