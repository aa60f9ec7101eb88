"""Join AN4 and the synthesised teacher part into the manifests that recipes/demo/teacher.yaml was trained on.

    python mix.py --an4 an4 --synthetic build --out build

writes mix_train.jsonl (AN4 train and all synthesised speakers but a few) and mix_dev.jsonl (AN4 dev and a
hundred utterances of those few). File names in them are absolute.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

Lines = list[dict[str, Any]]


def read(manifest: Path) -> Lines:
    """Return a manifest's lines with absolute file names."""
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [
        {**line, "audio_filepath": str(manifest.parent.resolve() / line["audio_filepath"])} for line in lines
    ]


def hold_out(lines: Lines) -> tuple[Lines, Lines]:
    """Part the lines by speaker: a twentieth of the speakers, at least six, are held out."""
    speakers = sorted({line["speaker"] for line in lines})
    random.Random(0).shuffle(speakers)
    held = set(speakers[: max(6, len(speakers) // 20)])
    return [x for x in lines if x["speaker"] not in held], [x for x in lines if x["speaker"] in held][:100]


def write(path: Path, lines: Lines) -> None:
    """Write a manifest."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def main() -> None:
    """Read the three manifests, write the two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--an4", type=Path, required=True, help="folder with train.jsonl and dev.jsonl")
    parser.add_argument("--synthetic", type=Path, required=True, help="folder with teacher.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    train, dev = hold_out(read(arguments.synthetic / "teacher.jsonl"))
    write(arguments.out / "mix_train.jsonl", read(arguments.an4 / "train.jsonl") + train)
    write(arguments.out / "mix_dev.jsonl", read(arguments.an4 / "dev.jsonl") + dev)


if __name__ == "__main__":
    main()
