"""Tell by the exit code whether this container can turn speech into text.

With KDCOMPRESS_BUNDLE it hears that bundle's selftest.wav with the variant that `transcribe` would choose,
and the outcome must be the one in selftest.json. Without, it decodes a clip that ships with the package and
computes its features, which takes the compiled libraries but no model.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from kdcompress.audio.decode import read_audio
from kdcompress.errors import KdcompressError
from kdcompress.frontend.logmel_numpy import log_mel
from kdcompress.resources import resource_dir
from kdcompress.runtime.recognizer import Recognizer


def check_bundle(folder: Path) -> str:
    """Hear the self-test of a bundle."""
    recognizer = Recognizer(folder, threads=1)
    name = recognizer.variant.name
    expected = json.loads((folder / "selftest.json").read_text(encoding="utf-8"))["variants"][name]
    log_probs = recognizer.log_probs([recognizer.features(read_audio(folder / "selftest.wav"))])[0]
    off = abs(float(log_probs.max(axis=1).mean()) - expected["mean_log_prob"])
    if not off <= expected["tolerance"]:  # NaN fails, too
        sys.exit(f"{folder}: the self-test of {name} is off by {off:.2g}, more than {expected['tolerance']}")
    return f"{folder}: {name} hears its self-test"


def check_libraries() -> str:
    """Decode and analyse a clip of the package."""
    clip = resource_dir("recipes") / "demo" / "start.opus"
    features = log_mel(read_audio(clip))
    if not (len(features) and np.isfinite(features).all()):
        sys.exit(f"{clip}: {features.shape} features, not all of them finite")
    return f"{clip.name}: {len(features)} frames of features"


if __name__ == "__main__":
    bundle = os.environ.get("KDCOMPRESS_BUNDLE")
    try:
        sys.stdout.write((check_bundle(Path(bundle)) if bundle else check_libraries()) + "\n")
    except (KdcompressError, OSError, KeyError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
