"""The failure matrix: random harm to the whole platform while it works."""
