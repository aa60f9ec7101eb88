"""Write down what was synthesised into the demo's training audio, for the rows of a comparison that read it.

    python transcripts.py > train.jsonl

draws the sentences and speakers of ../../demo/synthesise.py again (install what it names first), without the
sound. Distillation itself never sees these texts.
"""

import json
import sys
from itertools import islice
from pathlib import Path
from random import Random

DEMO = Path(__file__).resolve().parent.parent.parent / "demo"
sys.path.insert(0, str(DEMO))

from sentences import sentences  # noqa: E402  # both lie beside the demo
from synthesise import PARTS, make_speakers, spoken  # noqa: E402


def main() -> None:
    """Repeat the draws of `synthesise.record` up to the one that decides on speech."""
    part, seed = PARTS["distill"], "1 distill"
    speakers, shares = zip(*make_speakers(part, seed), strict=True)
    rng = Random(seed)
    places = map(json.loads, (DEMO / "train.jsonl").read_text(encoding="utf-8").splitlines())
    for index, text in enumerate(islice(sentences("distill", rng), part.count)):
        speaker = rng.choices(speakers, shares)[0]
        own = Random(f"{seed} {index}")
        spoken(text, speaker.engine, own)
        for _ in range(3):  # the pauses at both ends, the level of the noise
            own.random()
        silent = own.random() < part.untidy / 3
        place = next(places)
        line = {
            "audio_filepath": f"../../demo/{place['audio_filepath']}",
            "offset": place["offset"],
            "duration": min(place["duration"], round(place["duration"], 3)),
            "text": "" if silent else text,
            # The draws of the recorded comparison went by this name.
            "id": f"../../demo/audio/train/{place['id']}",
        }
        sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
