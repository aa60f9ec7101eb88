"""`kdcompress transcribe`."""
