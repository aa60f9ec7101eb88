"""Waveforms become features: the same log-mel twice, in torch to train and in numpy to serve."""
