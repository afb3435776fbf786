"""The built-in operations that steps execute."""
