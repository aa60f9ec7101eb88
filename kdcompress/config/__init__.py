"""What can be configured, as frozen data (no torch, no work at import)."""
