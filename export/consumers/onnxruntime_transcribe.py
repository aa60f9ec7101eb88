"""Transcribe with onnxruntime and numpy alone: python onnxruntime_transcribe.py BUNDLE FILE…

For bundles of the profile `waveform`, whose graph computes the features itself. Prints one JSON object
per file.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("bundle", type=Path)
parser.add_argument("files", nargs="*", type=Path)
parser.add_argument(
    "--manifest", type=Path, help="JSON lines with audio_filepath, and perhaps offset, duration"
)
parser.add_argument("--precision", help="int8 for model.int8.onnx; model.onnx unless given")
parser.add_argument("--batch", type=int, default=1, help="files recognised together")
args = parser.parse_intermixed_args()

entries = [(Path(), {"audio_filepath": str(file)}) for file in args.files]
if args.manifest:
    lines = args.manifest.read_text(encoding="utf-8").splitlines()
    entries += [(args.manifest.parent, json.loads(line)) for line in lines if line.strip()]

graph = args.bundle / (f"model.{args.precision}.onnx" if args.precision else "model.onnx")
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
tokens = (args.bundle / "tokens.txt").read_text(encoding="utf-8").splitlines()
pieces = [line.rsplit(" ", 1)[0] for line in tokens]

for first in range(0, len(entries), args.batch):
    group = entries[first : first + args.batch]
    waveforms = []
    for folder, entry in group:
        with soundfile.SoundFile(folder / entry["audio_filepath"]) as file:
            if file.samplerate != 16_000:
                raise SystemExit(
                    f"{entry['audio_filepath']} has {file.samplerate} Hz: resample it to 16000 Hz"
                )
            file.seek(round(entry.get("offset", 0) * 16_000))
            frames = round(entry["duration"] * 16_000) if "duration" in entry else -1
            waveforms.append(file.read(frames, dtype="float32", always_2d=True).mean(axis=1))
    # Zeros behind the end are padding: the graph does not hear them and answers them with blanks.
    batch = np.zeros((len(group), max(1, *map(len, waveforms))), np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    (logits,) = session.run(["logits"], {"input_values": batch})
    for (_, entry), best in zip(group, logits.argmax(axis=2), strict=True):
        changed = best[np.diff(best, prepend=-1) != 0]  # greedy CTC: repeats count once, blanks not at all
        text = "".join(pieces[i] for i in changed if pieces[i] != "<blk>").replace("▁", " ")
        result = {"audio_filepath": entry["audio_filepath"], "text": " ".join(text.split())}
        print(json.dumps(result, ensure_ascii=False), flush=True)
