"""kdcompress: a large CTC speech recogniser becomes a small deployable one, from audio alone."""

__version__ = "0.1.0"
