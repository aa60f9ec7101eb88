"""Models that already hear well, opened behind one face: audio in, log posteriors per frame out."""
