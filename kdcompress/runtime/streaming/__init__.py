"""Text while somebody speaks."""
