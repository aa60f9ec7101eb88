"""Compare a streaming bundle's transcripts with those of sherpa-onnx, and say why they differ.

    python recipes/agree_streaming.py BUNDLE an4/test.jsonl [--variant int8-dynamic]

Where the two differ, our runtime is given the features that sherpa-onnx computes (by kaldi-native-fbank, as
it does): if it then prints sherpa-onnx's text, the difference comes from the last digits of features;
else onnxruntime's versions, ours and the one inside sherpa-onnx, differ.
"""

import argparse
import sys
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import sherpa_onnx

from kdcompress.aliases import FloatArray
from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import read_references
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.frontend.logmel_numpy import BANDS, HOP
from kdcompress.runtime.recognizer import Recognizer
from kdcompress.text.decode import greedy_pieces

TAIL = 2 * SAMPLE_RATE  # of silence, so that the last chunk is run


def features(samples: FloatArray) -> FloatArray:
    """Return frames [T, F] as sherpa-onnx computes them for NeMo's streaming models."""
    options = knf.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.dither, frame.snip_edges = SAMPLE_RATE, 0, False
    frame.window_type, frame.remove_dc_offset = "hann", False
    mel.num_bins, mel.low_freq, mel.high_freq, mel.is_librosa = BANDS, 0, 0, True
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(SAMPLE_RATE, samples.tolist())
    return np.array([bank.get_frame(index) for index in range(bank.num_frames_ready)], np.float32)


def text_of(recognizer: Recognizer, frames: FloatArray) -> str:
    """Run the chunks that sherpa-onnx would run of these frames."""
    graph, vocabulary, pieces = recognizer.streaming, recognizer.bundle.vocabulary, []
    states = graph.initial()
    for start in range(0, len(frames) - graph.window, graph.shift):
        log_probs, counts, states = graph.step(frames[None, start : start + graph.window], states)
        pieces.append(log_probs[0, : counts[0]])
    return greedy_pieces(pieces, vocabulary).text(vocabulary)


def main() -> None:
    """Print how many transcripts are equal, and those that are not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--variant", default="fp32")
    args = parser.parse_args()
    recognizer = Recognizer(args.bundle, args.variant, threads=1)
    graph = args.bundle / recognizer.variant.file
    theirs = sherpa_onnx.OnlineRecognizer.from_nemo_ctc(
        model=str(graph), tokens=str(args.bundle / "tokens.txt"), num_threads=1
    )
    references, equal, explained = read_references(args.manifest), 0, 0
    for reference in references:
        waveform = read_audio(reference.utterance.audio)
        # Half a hop of silence before: there sherpa-onnx centres its frames.
        samples = np.pad(waveform, (HOP // 2, TAIL))
        stream = theirs.create_stream()
        stream.accept_waveform(SAMPLE_RATE, samples)
        while theirs.is_ready(stream):
            theirs.decode_stream(stream)
        found, ours = " ".join(theirs.get_result(stream).split()), recognizer.transcribe(waveform).text
        if found == ours:
            equal += 1
            continue
        same = text_of(recognizer, features(samples)) == found
        explained += same
        why = "the last digits of features" if same else "another onnxruntime"
        sys.stdout.write(f"{reference.utterance.id}: {why}\n  {ours}\n  {found}\n")
    differ = len(references) - equal
    sys.stdout.write(f"equal: {equal} of {len(references)}; of {differ} others {explained} by features\n")


if __name__ == "__main__":
    main()
