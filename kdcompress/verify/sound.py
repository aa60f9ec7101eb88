"""Rendered sound, for where there is no recording at hand."""

import numpy as np

from kdcompress.aliases import FloatArray
from kdcompress.audio.utterance import SAMPLE_RATE


def synthetic_waveform(seconds: float, seed: int = 0) -> FloatArray:
    """Render sound with the rhythm and bands of speech: [S] float32 at 16 kHz, the same each time.

    A gliding voice-like tone in syllables, hiss between them, silence at both ends.
    """
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 120.0 + 40.0 * np.sin(2 * np.pi * 0.9 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    low = 550.0 + 250.0 * np.sin(2 * np.pi * 1.3 * time)
    high = 1500.0 + 500.0 * np.cos(2 * np.pi * 0.7 * time)
    voice = np.zeros_like(time)
    for harmonic in range(1, 18):
        frequency = harmonic * pitch
        gain = sum(np.exp(-(((frequency - formant) / 220.0) ** 2)) for formant in (low, high))
        voice += gain * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3.5 * time), 0.0, None)
    hiss = generator.standard_normal(len(time)) * np.clip(-np.sin(2 * np.pi * 3.5 * time), 0.0, None) ** 4
    edges = np.minimum(1.0, np.minimum(time, seconds - time) / 0.1)
    sound = (0.2 * voice * syllables + 0.05 * hiss) * edges
    scaled: FloatArray = (0.5 * sound / max(np.abs(sound).max(), 1e-9)).astype(np.float32)
    return scaled
