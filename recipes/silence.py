"""Write twenty clips of two seconds in which nobody speaks, and their manifest, to see who hears voices.

    python recipes/silence.py --out silence
    kdcompress bench bundles/mine --teacher runs/teacher --manifest silence/silence.jsonl

Ten clips are digital silence, ten are faint noise (white and, low-passed, brownish) between −70 and −45 dBFS.
What a model prints there counts as insertions, since the references are empty.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

RATE, SECONDS = 16_000, 2.0


def clip(index: int) -> tuple[str, np.ndarray]:
    """Return the name and the samples of one of the twenty clips."""
    samples = int(RATE * SECONDS)
    if index < 10:
        return f"digital-{index}", np.zeros(samples)
    rng = np.random.default_rng(index)
    noise = rng.standard_normal(samples)
    if index % 2:
        noise = np.convolve(noise, np.hanning(33), mode="same")  # most of a room's noise is low
    level = 10 ** (np.linspace(-70, -45, 10)[index - 10] / 20)
    return f"noise-{index}", noise / noise.std() * level


def main() -> None:
    """Write clips and manifest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(20):
        name, samples = clip(index)
        soundfile.write(out / f"{name}.wav", samples, RATE, subtype="PCM_16")
        lines.append({"audio_filepath": f"{name}.wav", "duration": SECONDS, "text": "", "id": name})
    (out / "silence.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
