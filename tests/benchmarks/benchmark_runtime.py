"""Measure our runtime against sherpa-onnx, onnx-asr and the bare graph, on the same utterances.

    python tests/benchmarks/benchmark_runtime.py BUNDLE test.jsonl [--variant fp32] [--repeats 15]

For bundles of the profile `portable`. One process on one core, one thread each, one utterance at a time,
audio decoded beforehand. In every repeat each contender hears every block of utterances (the first one of it
once more, untimed), and who begins rotates; ratios are taken within a repeat, so that a machine that is slow
for a while is slow for all. Every repeat cuts 10 ms more off the ends: utterances seldom have the length of
one before, and onnxruntime may keep something for every length; `--same-lengths` cuts nothing. `bare` is
`session.run` alone, on features computed beforehand, in the session of our runtime; `plain` is the same in a
session of which only the number of threads was set.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_asr
import onnxruntime
import sherpa_onnx

from kdcompress.audio.decode import read_audio
from kdcompress.audio.manifest import read_references
from kdcompress.bench.timing import paired_speed
from kdcompress.frontend.logmel_numpy import HOP
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.recognizer import Recognizer, pad

Waveform: TypeAlias = npt.NDArray[np.float32]

BLOCK = 5
STAGES = ("features", "model", "decoding", "overhead")


@dataclass(frozen=True)
class Inputs:
    """What the contenders are fed in one repeat.

    Attributes:
        clips: the waveforms.
        shifted: for sherpa-onnx, as its consumer program feeds it, so that its frames are where ours are.
        feeds: the graph's inputs.
    """

    clips: list[Waveform]
    shifted: list[Waveform]
    feeds: list[dict[str, Any]]

    @classmethod
    def cut(cls, waveforms: Sequence[Waveform], hops: int, recognizer: Recognizer) -> "Inputs":
        """Prepare waveforms less so many hops at their ends."""
        clips = [w[: max(len(w) - hops * HOP, len(w) // 2)] for w in waveforms]
        silence = np.zeros(HOP // 2, np.float32)
        shifted = [np.concatenate([silence, c[: max(0, len(c) // HOP * HOP - 1)]]) for c in clips]
        feeds = [recognizer.session.layout.feeds(*pad([recognizer.features(c)])) for c in clips]
        return cls(clips, shifted, feeds)


Contender: TypeAlias = Callable[[Inputs, int], str]
"""Hears the utterance of that index."""


class Ours:
    """Our runtime, and how its time is split."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.spent = dict.fromkeys(STAGES, 0.0)

    def __call__(self, inputs: Inputs, index: int) -> str:
        begin = time.perf_counter()
        transcript = self.recognizer.transcribe(inputs.clips[index])
        total = time.perf_counter() - begin
        known = {stage: getattr(transcript.timings, stage) for stage in STAGES[:-1]}
        for stage, seconds in {**known, "overhead": total - sum(known.values())}.items():
            self.spent[stage] += seconds
        return transcript.text


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    references = read_references(arguments.manifest)[: arguments.utterances]
    waveforms = [read_audio(r.utterance.audio, r.utterance.start, r.utterance.duration) for r in references]
    bundle = open_bundle(arguments.bundle)
    sys.stdout.write(
        f"{arguments.bundle.resolve().name}: {len(waveforms)} utterances, "
        f"{sum(map(len, waveforms)) / 16_000:.1f} s of audio, {arguments.repeats} repeats, "
        f"onnxruntime {onnxruntime.__version__}, sherpa-onnx {sherpa_onnx.__version__}, "
        f"numpy {np.__version__}\n"
    )
    for variant in arguments.variant or [v for v in ("fp32", "int8-dynamic") if v in bundle.variants]:
        ours = Ours(Recognizer(arguments.bundle, variant, threads=1))
        others = _others(arguments.bundle, ours.recognizer)
        step = 0 if arguments.same_lengths else 1
        rounds = [Inputs.cut(waveforms, r * step, ours.recognizer) for r in range(arguments.repeats + 1)]
        texts = [ours(rounds[0], i) for i in range(len(waveforms))]
        agree = {
            name: sum(hear(rounds[0], i) == text for i, text in enumerate(texts))
            for name, hear in others.items()
            if name not in {"bare", "plain"}
        }
        ours.spent = dict.fromkeys(STAGES, 0.0)
        spent = _measured({"ours": ours, **others}, rounds[1:])
        audio = sum(len(clip) for inputs in rounds[1:] for clip in inputs.clips) / 16_000
        split = ", ".join(f"{s} {t / sum(ours.spent.values()):.1%}" for s, t in ours.spent.items())
        sys.stdout.write(f"{variant}: {audio / sum(spent['ours']):.0f} times as fast as the audio; {split}\n")
        for name in others:
            ratio = paired_speed(spent["ours"], spent[name])
            same = f", same text for {agree[name]}" if name in agree else ""
            sys.stdout.write(
                f"  ours / {name}: {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]{same}\n"
            )


def _others(bundle: Path, recognizer: Recognizer) -> dict[str, Contender]:
    graph = bundle / recognizer.variant.file
    outputs = list(recognizer.session.layout.outputs)
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = one_thread.inter_op_num_threads = 1
    cpu = ["CPUExecutionProvider"]
    plain = onnxruntime.InferenceSession(graph, one_thread, providers=cpu)

    def bare(session: Any) -> Contender:
        def hear(inputs: Inputs, index: int) -> str:
            session.run(outputs, inputs.feeds[index])
            return ""

        return hear

    precision = graph.name.removeprefix("model.").removesuffix("onnx").rstrip(".") or None
    asr = onnx_asr.load_model(
        "nemo-conformer-ctc", bundle, quantization=precision, sess_options=one_thread, providers=cpu
    )
    sherpa = sherpa_onnx.OfflineRecognizer.from_nemo_ctc(
        model=str(graph), tokens=str(bundle / "tokens.txt"), num_threads=1
    )

    def through_sherpa(inputs: Inputs, index: int) -> str:
        stream = sherpa.create_stream()
        stream.accept_waveform(16_000, inputs.shifted[index])
        sherpa.decode_stream(stream)
        return " ".join(stream.result.text.split())

    def through_onnx_asr(inputs: Inputs, index: int) -> str:
        return " ".join(asr.recognize(inputs.clips[index]).split())

    return {
        "bare": bare(recognizer.session.session),
        "plain": bare(plain),
        "sherpa-onnx": through_sherpa,
        "onnx-asr": through_onnx_asr,
    }


def _measured(contenders: dict[str, Contender], rounds: Sequence[Inputs]) -> dict[str, list[float]]:
    """Return the seconds that each contender took, one figure per repeat."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    names, turn = list(contenders), 0
    gc.disable()
    for inputs in rounds:
        for name in names:
            spent[name].append(0.0)
        for first in range(0, len(inputs.clips), BLOCK):
            begins = turn % len(names)
            turn += 1
            for name in names[begins:] + names[:begins]:
                hear = contenders[name]
                hear(inputs, first)  # the caches belong to whoever ran before
                begin = time.perf_counter()
                for index in range(first, min(first + BLOCK, len(inputs.clips))):
                    hear(inputs, index)
                spent[name][-1] += time.perf_counter() - begin
        gc.collect()
    gc.enable()
    return spent


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--variant", action="append", help="fp32 and int8-dynamic unless given")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--utterances", type=int, default=20, help="of the manifest, from its beginning on")
    parser.add_argument("--same-lengths", action="store_true", help="cut nothing off the utterances")
    return parser.parse_args()


if __name__ == "__main__":
    main()
