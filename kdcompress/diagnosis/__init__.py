"""What this machine and this installation can do, checked by trying it."""
