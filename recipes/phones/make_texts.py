"""Write what the phone teacher prints of some audio, twice: a teacher whose posteriors nobody sees.

    python recipes/phones/make_texts.py runs/phone-teacher real-en/audio/train texts.jsonl second.jsonl

The second file holds what it prints of the same audio at 0.9 of the speed, for the agreement of two passes.
"""

import argparse
import json
from pathlib import Path

import torch

from kdcompress.audio.manifest import read_utterances
from kdcompress.distill.data.audio_batch import audio_batches
from kdcompress.distill.objective.pseudo_labels import best_paths
from kdcompress.distill.posteriors.memory import TeacherPosteriors
from kdcompress.teachers.open import open_teacher, resolve_teacher

BATCH_SECONDS = 20.0


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher")
    parser.add_argument("audio", type=Path)
    parser.add_argument("out", type=Path, nargs=2)
    asked = parser.parse_args()
    source = TeacherPosteriors(open_teacher(resolve_teacher(asked.teacher)), torch.device("cpu"))
    utterances, _ = read_utterances(asked.audio)
    files = {utterance.id: utterance.audio for utterance in utterances}
    for out, speed in zip(asked.out, (1.0, 0.9), strict=True):
        lines = []
        for batch in audio_batches(utterances, BATCH_SECONDS, speed=speed):
            for id_, labels in zip(
                batch.ids, best_paths(source(batch), source.vocabulary).labels, strict=True
            ):
                entry = {"audio_filepath": str(files[id_]), "text": source.vocabulary.text(labels), "id": id_}
                lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
        out.write_text("".join(sorted(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
