"""Files become utterances, utterances become waveforms (numpy; no torch)."""
