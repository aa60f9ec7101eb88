"""Transcribe with sherpa-onnx: python sherpa_onnx_transcribe.py BUNDLE [--int8] FILE…

Prints one JSON object per file. Needs only sherpa-onnx, numpy and soundfile.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import sherpa_onnx
import soundfile

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("bundle", type=Path)
parser.add_argument("files", nargs="*", type=Path)
parser.add_argument(
    "--manifest", type=Path, help="JSON lines with audio_filepath, and perhaps offset, duration"
)
parser.add_argument("--precision", help="int8 for model.int8.onnx; model.onnx unless given")
parser.add_argument("--int8", action="store_const", const="int8", dest="precision")
parser.add_argument("--batch", type=int, default=1, help="files decoded together")
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_intermixed_args()

entries = [(Path(), {"audio_filepath": str(file)}) for file in args.files]
if args.manifest:
    lines = args.manifest.read_text(encoding="utf-8").splitlines()
    entries += [(args.manifest.parent, json.loads(line)) for line in lines if line.strip()]

profile = json.loads((args.bundle / "bundle.json").read_text(encoding="utf-8"))["profile"]
opens = {
    "portable": sherpa_onnx.OfflineRecognizer.from_nemo_ctc,
    "waveform": sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc,
    "kaldi": sherpa_onnx.OfflineRecognizer.from_zipformer_ctc,
}[profile]
# A wrong file name or graph ends the process here; sherpa-onnx raises no exception.
recognizer = opens(
    model=str(args.bundle / (f"model.{args.precision}.onnx" if args.precision else "model.onnx")),
    tokens=str(args.bundle / "tokens.txt"),
    num_threads=args.threads,
)

for first in range(0, len(entries), args.batch):
    group = entries[first : first + args.batch]
    streams = []
    for folder, entry in group:
        with soundfile.SoundFile(folder / entry["audio_filepath"]) as file:
            rate = file.samplerate
            file.seek(round(entry.get("offset", 0) * rate))
            frames = round(entry["duration"] * rate) if "duration" in entry else -1
            samples = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
        stream = recognizer.create_stream()
        if profile == "portable":
            # sherpa-onnx centres its frames 5 ms later than NeMo: so much silence puts them where they
            # belong. It counts a begun hop as a frame, which NeMo does not: up to 10 ms off the end make
            # the same number.
            hop = rate // 100
            samples = samples[: max(0, len(samples) // hop * hop - 1)]
            samples = np.concatenate([np.zeros(hop // 2, np.float32), samples])
        stream.accept_waveform(rate, samples)
        streams.append(stream)
    recognizer.decode_streams(streams)
    for (_, entry), stream in zip(group, streams, strict=True):
        result = {"audio_filepath": entry["audio_filepath"], "text": " ".join(stream.result.text.split())}
        print(json.dumps(result, ensure_ascii=False), flush=True)
