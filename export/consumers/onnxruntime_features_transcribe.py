"""Transcribe with features of our own: python onnxruntime_features_transcribe.py BUNDLE FILE…

For bundles of the profile `portable`, with onnxruntime and numpy alone: all that a runtime in another
language has to do. Prints one JSON object per file.
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


def mel_bands():
    """Return slaney's 80 bands up to 8 kHz over the 257 bins of the spectrum, each of unit area."""
    top = 15 + np.log(8.0) / (np.log(6.4) / 27)
    mel = np.linspace(0, top, 82)
    hertz = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))
    bins = np.linspace(0, 8000, 257)[:, None]
    low, middle, high = hertz[:-2], hertz[1:-1], hertz[2:]
    triangles = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    return np.maximum(0, triangles) * 2 / (high - low)


def features(waveform, normalize):
    """Return log-mel features [80, frames] as NVIDIA NeMo defines them."""
    emphasised = waveform - 0.97 * np.concatenate([[0], waveform[:-1]])
    frames = len(waveform) // 160
    padded = np.pad(emphasised, 200)
    starts = 160 * np.arange(frames)[:, None]
    windowed = padded[starts + np.arange(400)] * np.hanning(400)
    power = np.abs(np.fft.rfft(windowed, 512)) ** 2
    mel = np.log(power @ mel_bands() + 2.0**-24)
    if normalize == "per_feature":
        deviation = np.sqrt(((mel - mel.mean(axis=0)) ** 2).sum(axis=0) / max(1, frames - 1))
        mel = (mel - mel.mean(axis=0)) / (deviation + 1e-5)
    return mel.T.astype(np.float32)


entries = [(Path(), {"audio_filepath": str(file)}) for file in args.files]
if args.manifest:
    lines = args.manifest.read_text(encoding="utf-8").splitlines()
    entries += [(args.manifest.parent, json.loads(line)) for line in lines if line.strip()]

graph = args.bundle / (f"model.{args.precision}.onnx" if args.precision else "model.onnx")
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
normalize = json.loads((args.bundle / "bundle.json").read_text(encoding="utf-8"))["frontend"]["normalize"]
tokens = (args.bundle / "tokens.txt").read_text(encoding="utf-8").splitlines()
pieces = [line.rsplit(" ", 1)[0] for line in tokens]

for first in range(0, len(entries), args.batch):
    group = entries[first : first + args.batch]
    computed = []
    for folder, entry in group:
        with soundfile.SoundFile(folder / entry["audio_filepath"]) as file:
            if file.samplerate != 16_000:
                raise SystemExit(
                    f"{entry['audio_filepath']} has {file.samplerate} Hz: resample it to 16000 Hz"
                )
            file.seek(round(entry.get("offset", 0) * 16_000))
            frames = round(entry["duration"] * 16_000) if "duration" in entry else -1
            waveform = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
        computed.append(features(np.pad(waveform, (0, max(0, 160 - len(waveform)))), normalize))
    lengths = np.array([array.shape[1] for array in computed])
    batch = np.zeros((len(group), 80, lengths.max()), np.float32)
    for row, array in zip(batch, computed, strict=True):
        row[:, : array.shape[1]] = array
    logprobs, ends = session.run(["logprobs", "encoded_lengths"], {"audio_signal": batch, "length": lengths})
    for (_, entry), best, end in zip(group, logprobs.argmax(axis=2), ends, strict=True):
        best = best[:end]
        changed = best[np.diff(best, prepend=-1) != 0]  # greedy CTC: repeats count once, blanks not at all
        text = "".join(pieces[i] for i in changed if pieces[i] != "<blk>").replace("▁", " ")
        result = {"audio_filepath": entry["audio_filepath"], "text": " ".join(text.split())}
        print(json.dumps(result, ensure_ascii=False), flush=True)
