"""Transcribe as one speaks with onnxruntime: python onnxruntime_streaming.py BUNDLE [--int8] FILE…

For bundles of the profile `streaming`, with onnxruntime and numpy alone: features of a chunk, states in and
out, greedy CTC. Prints one JSON object per file; with --partial also the text so far, whenever it grew.
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
parser.add_argument("--int8", action="store_const", const="int8", dest="precision")
parser.add_argument("--partial", action="store_true", help="print the text so far, too")
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


BANDS = mel_bands()
STARTS = np.arange(400) + 160 * np.arange(3000)[:, None]
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def features(samples, frames):
    """Return sherpa-onnx's log-mel frames [80, frames]; samples begin one before the first one's window."""
    emphasised = samples[1:] - 0.97 * samples[:-1]
    windowed = emphasised[STARTS[:frames]] * np.hanning(401)[:400]
    power = np.abs(np.fft.rfft(windowed, 512)) ** 2
    return np.log(np.maximum(power @ BANDS, 2.0**-23)).T.astype(np.float32)


class Stream:
    """One speaker: samples at 16 kHz of any number in, text out."""

    def __init__(self):
        self.samples = np.zeros(201, np.float32)  # half a window and the sample before it: silence
        self.window = np.zeros((80, 0), np.float32)
        self.states = {  # as NeMo names them: cache_last_channel, cache_last_time, cache_last_channel_len
            value.name: np.zeros((1, *value.shape[1:]), TYPES[value.type]) for value in inputs[2:]
        }
        self.before, self.text = blank, ""

    def push(self, samples):
        """Decode the chunks that are whole with these samples; returns the text so far."""
        self.samples = np.concatenate([self.samples, samples])
        while True:
            frames = SHIFT if self.window.shape[1] else WINDOW
            if len(self.samples) < 401 + 160 * (frames - 1):
                return " ".join(self.text.split())
            new = features(self.samples, frames)
            self.samples = self.samples[160 * frames :]
            self.window = np.concatenate([self.window[:, SHIFT:], new], axis=1)
            chunk = {"audio_signal": self.window[None], "length": np.array([WINDOW])}
            logprobs, ends, *states = session.run(None, {**chunk, **self.states})
            self.states = dict(zip(self.states, states, strict=True))
            for token in logprobs[0, : ends[0]].argmax(axis=1):
                if token not in (self.before, blank):
                    self.text += pieces[token].replace("▁", " ")
                self.before = token


entries = [(Path(), {"audio_filepath": str(file)}) for file in args.files]
if args.manifest:
    lines = args.manifest.read_text(encoding="utf-8").splitlines()
    entries += [(args.manifest.parent, json.loads(line)) for line in lines if line.strip()]

graph = args.bundle / (f"model.{args.precision}.onnx" if args.precision else "model.onnx")
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
inputs = session.get_inputs()
metadata = session.get_modelmeta().custom_metadata_map
WINDOW, SHIFT = int(metadata["window_size"]), int(metadata["chunk_shift"])
tokens = (args.bundle / "tokens.txt").read_text(encoding="utf-8").splitlines()
pieces = [line.rsplit(" ", 1)[0] for line in tokens]
blank = pieces.index("<blk>")

for folder, entry in entries:
    with soundfile.SoundFile(folder / entry["audio_filepath"]) as file:
        if file.samplerate != 16_000:
            raise SystemExit(f"{entry['audio_filepath']} has {file.samplerate} Hz: resample it to 16000 Hz")
        file.seek(round(entry.get("offset", 0) * 16_000))
        frames = round(entry["duration"] * 16_000) if "duration" in entry else -1
        waveform = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
    waveform = np.pad(waveform, (0, 32_000))  # whole chunks only are run: silence lets the last one be filled
    stream, text = Stream(), ""
    for first in range(0, len(waveform), 1600):  # as a microphone would
        so_far = stream.push(waveform[first : first + 1600])
        if args.partial and so_far != text:
            print(json.dumps({"seconds": first / 16_000, "partial": so_far}, ensure_ascii=False), flush=True)
        text = so_far
    print(
        json.dumps({"audio_filepath": entry["audio_filepath"], "text": text}, ensure_ascii=False), flush=True
    )
