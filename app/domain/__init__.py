"""Values with their rules; standard library only."""
