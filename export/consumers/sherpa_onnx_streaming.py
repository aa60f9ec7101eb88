"""Transcribe as one speaks with sherpa-onnx: python sherpa_onnx_streaming.py BUNDLE [--int8] FILE…

Feeds each file in tenths of a second and prints one JSON object per file; with --partial also the text so
far, whenever it grew. Needs only sherpa-onnx ≥ 2.0, numpy and soundfile.
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
parser.add_argument("--partial", action="store_true", help="print the text so far, too")
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_intermixed_args()

entries = [(Path(), {"audio_filepath": str(file)}) for file in args.files]
if args.manifest:
    lines = args.manifest.read_text(encoding="utf-8").splitlines()
    entries += [(args.manifest.parent, json.loads(line)) for line in lines if line.strip()]

profile = json.loads((args.bundle / "bundle.json").read_text(encoding="utf-8"))["profile"]
opens = {
    "streaming": sherpa_onnx.OnlineRecognizer.from_nemo_ctc,
    "telephone": sherpa_onnx.OnlineRecognizer.from_t_one_ctc,
}[profile]
# A wrong file name or graph ends the process here; sherpa-onnx raises no exception.
recognizer = opens(
    model=str(args.bundle / (f"model.{args.precision}.onnx" if args.precision else "model.onnx")),
    tokens=str(args.bundle / "tokens.txt"),
    num_threads=args.threads,
)

for folder, entry in entries:
    with soundfile.SoundFile(folder / entry["audio_filepath"]) as file:
        rate = file.samplerate
        file.seek(round(entry.get("offset", 0) * rate))
        frames = round(entry["duration"] * rate) if "duration" in entry else -1
        samples = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
    # sherpa-onnx centres its frames 5 ms later than the student learned them. It runs whole chunks only: the
    # silence behind lets the last one be filled.
    samples = np.concatenate([np.zeros(rate // 200), samples, np.zeros(2 * rate)]).astype(np.float32)
    stream = recognizer.create_stream()
    text = ""
    for first in range(0, len(samples), rate // 10):
        stream.accept_waveform(rate, samples[first : first + rate // 10])
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
        so_far = " ".join(recognizer.get_result(stream).split())
        if args.partial and so_far != text:
            print(json.dumps({"seconds": first / rate, "partial": so_far}, ensure_ascii=False), flush=True)
        text = so_far
    result = {"audio_filepath": entry["audio_filepath"], "text": text}
    print(json.dumps(result, ensure_ascii=False), flush=True)
