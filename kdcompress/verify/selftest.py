"""A second and a half of sound inside every bundle, and what its variants make of it.

Any runtime can check itself with it: same samples in, same tokens out. The sound is rendered, not recorded.
"""

import json
from typing import Any

import soundfile

from kdcompress.aliases import FloatArray
from kdcompress.audio.decode import read_audio
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.runtime.bundle import FP32, Bundle
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.text.decode import greedy
from kdcompress.verify.sound import synthetic_waveform

AUDIO = "selftest.wav"
RECORD = "selftest.json"
SECONDS = 1.5

# Of the mean log-probability of the best path: float kernels of different CPUs agree closely, integer ones
# saturate differently with and without VNNI.
_TOLERANCE = {FP32: 1e-3}
_QUANTIZED_TOLERANCE = 0.1


def write_selftest(bundle: Bundle) -> None:
    """Write selftest.wav and selftest.json into a bundle directory that has its graphs."""
    audio = bundle.directory / AUDIO
    soundfile.write(audio, synthetic_waveform(SECONDS), SAMPLE_RATE, subtype="PCM_16")
    waveform = read_audio(audio)  # what the file has: rounded to 16 bits
    record = {
        "schema": 1,
        "audio": AUDIO,
        "about": "feed the audio to a variant: the best token of each output frame should be as listed, and "
        "the mean over the frames of its log-probability within the tolerance",
        "variants": {
            name: _expected(Recognizer(bundle, name, threads=1), waveform) for name in bundle.variants
        },
    }
    text = json.dumps(record, ensure_ascii=False) + "\n"
    (bundle.directory / RECORD).write_text(text, encoding="utf-8")


def _expected(recognizer: Recognizer, waveform: FloatArray) -> dict[str, Any]:
    vocabulary = recognizer.bundle.vocabulary
    log_probs = recognizer.log_probs([recognizer.features(waveform)])[0]
    return {
        "text": greedy(log_probs, vocabulary).text(vocabulary),
        "best_tokens": log_probs.argmax(axis=1).tolist(),
        "mean_log_prob": round(float(log_probs.max(axis=1).mean()), 6),
        "tolerance": _TOLERANCE.get(recognizer.variant.name, _QUANTIZED_TOLERANCE),
    }
