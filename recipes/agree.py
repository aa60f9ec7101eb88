"""Compare the transcripts of two runtimes, and both with the references.

    kdcompress transcribe bundles/an4 --variant fp32 --json an4/audio/test/*.flac > ours.jsonl
    python export/consumers/sherpa_onnx_transcribe.py bundles/an4 --manifest an4/test.jsonl > sherpa.jsonl
    python recipes/agree.py an4/test.jsonl ours.jsonl sherpa.jsonl

Each file has one JSON object a line with audio_filepath and text; files are matched by name.
"""

import json
import sys
from pathlib import Path

import jiwer


def texts(path: str) -> dict[str, str]:
    """Return the text of each audio file, by its name."""
    lines = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
    return {Path(line["audio_filepath"]).name: line["text"] for line in lines}


def main() -> None:
    """Print WER of both, the number of equal transcripts, and those that differ."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    references, ours, theirs = map(texts, sys.argv[1:])
    for name, heard in ((sys.argv[2], ours), (sys.argv[3], theirs)):
        rate = jiwer.wer(list(references.values()), [heard[key] for key in references])
        sys.stdout.write(f"{name}: WER {100 * rate:.2f} %\n")
    different = [key for key in references if ours[key] != theirs[key]]
    sys.stdout.write(f"equal: {len(references) - len(different)} of {len(references)}\n")
    for key in different:
        sys.stdout.write(f"{key}\n  {ours[key]}\n  {theirs[key]}\n")


if __name__ == "__main__":
    main()
