"""Transcribe with transformers and optimum: python transformers_transcribe.py BUNDLE FILE…

For bundles of the profile `waveform`. Prints one JSON object per file. Needs optimum-onnx, transformers,
onnxruntime and soundfile.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile
from optimum.onnxruntime import ORTModelForCTC
from transformers import Wav2Vec2Processor

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

graph = f"model.{args.precision}.onnx" if args.precision else "model.onnx"
model = ORTModelForCTC.from_pretrained(args.bundle, file_name=graph)
processor = Wav2Vec2Processor.from_pretrained(args.bundle)

for first in range(0, len(entries), args.batch):
    group = entries[first : first + args.batch]
    waveforms = []
    for folder, entry in group:
        with soundfile.SoundFile(folder / entry["audio_filepath"]) as file:
            rate = file.samplerate  # the processor refuses all but 16 kHz
            file.seek(round(entry.get("offset", 0) * rate))
            frames = round(entry["duration"] * rate) if "duration" in entry else -1
            waveforms.append(file.read(frames, dtype="float32", always_2d=True).mean(axis=1))
    inputs = processor(waveforms, sampling_rate=rate, padding=True, return_tensors="np")
    ids = np.asarray(model(input_values=inputs["input_values"]).logits).argmax(axis=-1)
    # No skip_special_tokens: it drops the blanks before repeats are merged, and "three" becomes "thre".
    # Pieces of words begin with ▁, which the tokenizer of wav2vec2 knows only where it stands alone.
    for (_, entry), text in zip(group, processor.batch_decode(ids), strict=True):
        result = {"audio_filepath": entry["audio_filepath"], "text": " ".join(text.replace("▁", " ").split())}
        print(json.dumps(result, ensure_ascii=False), flush=True)
