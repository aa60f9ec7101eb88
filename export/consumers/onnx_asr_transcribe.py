"""Transcribe with onnx-asr: python onnx_asr_transcribe.py BUNDLE [--int8] FILE…

Prints one JSON object per file. Needs only onnx-asr, onnxruntime and soundfile.
"""

import argparse
import json
from pathlib import Path

import onnx_asr
import soundfile

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("bundle", type=Path)
parser.add_argument("files", nargs="*", type=Path)
parser.add_argument(
    "--manifest", type=Path, help="JSON lines with audio_filepath, and perhaps offset, duration"
)
parser.add_argument("--precision", help="int8 for model.int8.onnx; model.onnx unless given")
parser.add_argument("--int8", action="store_const", const="int8", dest="precision")
parser.add_argument("--batch", type=int, default=1, help="files of one rate recognised together")
args = parser.parse_intermixed_args()

entries = [(Path(), {"audio_filepath": str(file)}) for file in args.files]
if args.manifest:
    lines = args.manifest.read_text(encoding="utf-8").splitlines()
    entries += [(args.manifest.parent, json.loads(line)) for line in lines if line.strip()]

model = onnx_asr.load_model("nemo-conformer-ctc", args.bundle, quantization=args.precision)

for first in range(0, len(entries), args.batch):
    group = entries[first : first + args.batch]
    waveforms, rates = [], set()
    for folder, entry in group:
        with soundfile.SoundFile(folder / entry["audio_filepath"]) as file:
            rates.add(file.samplerate)
            file.seek(round(entry.get("offset", 0) * file.samplerate))
            frames = round(entry["duration"] * file.samplerate) if "duration" in entry else -1
            waveforms.append(file.read(frames, dtype="float32", always_2d=True).mean(axis=1))
    (rate,) = rates
    for (_, entry), text in zip(group, model.recognize(waveforms, sample_rate=rate), strict=True):
        result = {"audio_filepath": entry["audio_filepath"], "text": " ".join(text.split())}
        print(json.dumps(result, ensure_ascii=False), flush=True)
