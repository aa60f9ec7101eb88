"""What a student is to match: alignment, selection of frames, targets and losses."""
