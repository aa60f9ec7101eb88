"""Trained models behind one interface: audio in, log posteriors per frame out."""
