"""Measure our runtime against sherpa-onnx, onnx-asr and the bare graph, on the same utterances.

    python tests/benchmarks/benchmark_runtime.py BUNDLE test.jsonl [--variant fp32] [--repeats 15]

For bundles of the profile `portable`. One process on one core, one thread each, one utterance at a time, audio
decoded beforehand. In every repeat each contender hears every block of utterances (the first one of it once
more, untimed), and who begins rotates; ratios are taken within a repeat, so that a machine that is slow for a
while is slow for all. `bare` is `session.run` alone, on features computed beforehand, in the session of our
runtime; `plain` is the same in a session of which only the number of threads was set.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
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
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.recognizer import Recognizer, pad

Waveform: TypeAlias = npt.NDArray[np.float32]
Contender: TypeAlias = Callable[[int], str]
"""Hears the utterance of that index."""

BLOCK = 5
STAGES = ("features", "model", "decoding", "overhead")


class Ours:
    """Our runtime, and how its time is split."""

    def __init__(self, bundle: Path, variant: str, clips: Sequence[Waveform]) -> None:
        self.recognizer = Recognizer(bundle, variant, threads=1)
        self.clips = clips
        self.spent = dict.fromkeys(STAGES, 0.0)

    def __call__(self, index: int) -> str:
        begin = time.perf_counter()
        transcript = self.recognizer.transcribe(self.clips[index])
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
    clips = [read_audio(r.utterance.audio, r.utterance.start, r.utterance.duration) for r in references]
    bundle = open_bundle(arguments.bundle)
    variants = arguments.variant or [name for name in ("fp32", "int8-dynamic") if name in bundle.variants]
    seconds = sum(map(len, clips)) / 16_000
    sys.stdout.write(
        f"{arguments.bundle.resolve().name}: {len(clips)} utterances, {seconds:.1f} s of audio, "
        f"{arguments.repeats} repeats, onnxruntime {onnxruntime.__version__}, "
        f"sherpa-onnx {sherpa_onnx.__version__}, numpy {np.__version__}\n"
    )
    for variant in variants:
        ours = Ours(arguments.bundle, variant, clips)
        contenders = {"ours": ours, **_others(arguments.bundle, variant, ours.recognizer, clips)}
        agree = {
            name: sum(ours(i) == hear(i) for i in range(len(clips)))
            for name, hear in contenders.items()
            if name in {"sherpa-onnx", "onnx-asr"}
        }
        ours.spent = dict.fromkeys(STAGES, 0.0)
        spent = _measured(contenders, len(clips), arguments.repeats)
        _show(variant, spent, ours.spent, agree, seconds)


def _others(
    bundle: Path, variant: str, recognizer: Recognizer, clips: Sequence[Waveform]
) -> dict[str, Contender]:
    graph = bundle / recognizer.variant.file
    layout = recognizer.session.layout
    feeds = [layout.feeds(*pad([recognizer.features(clip)])) for clip in clips]
    outputs = list(layout.outputs)

    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = one_thread.inter_op_num_threads = 1
    plain = onnxruntime.InferenceSession(graph, one_thread, providers=["CPUExecutionProvider"])

    def bare(session: Any) -> Contender:
        def hear(index: int) -> str:
            session.run(outputs, feeds[index])
            return ""

        return hear

    quantization = None if variant == "fp32" else graph.name.removeprefix("model.").removesuffix(".onnx")
    asr = onnx_asr.load_model(
        "nemo-conformer-ctc",
        bundle,
        quantization=quantization,
        sess_options=one_thread,
        providers=["CPUExecutionProvider"],
    )
    sherpa = sherpa_onnx.OfflineRecognizer.from_nemo_ctc(
        model=str(graph), tokens=str(bundle / "tokens.txt"), num_threads=1
    )
    # As the consumer program feeds it, so that its frames are where ours are.
    shifted = [
        np.concatenate([np.zeros(80, np.float32), c[: max(0, len(c) // 160 * 160 - 1)]]) for c in clips
    ]

    def through_sherpa(index: int) -> str:
        stream = sherpa.create_stream()
        stream.accept_waveform(16_000, shifted[index])
        sherpa.decode_stream(stream)
        return " ".join(stream.result.text.split())

    def through_onnx_asr(index: int) -> str:
        return " ".join(asr.recognize(clips[index]).split())

    return {
        "bare": bare(recognizer.session.session),
        "plain": bare(plain),
        "sherpa-onnx": through_sherpa,
        "onnx-asr": through_onnx_asr,
    }


def _measured(contenders: dict[str, Contender], clips: int, repeats: int) -> dict[str, list[float]]:
    """Return the seconds that each contender took, one figure per repeat."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    names, turn = list(contenders), 0
    gc.disable()
    for _ in range(repeats):
        for name in names:
            spent[name].append(0.0)
        for first in range(0, clips, BLOCK):
            begins = turn % len(names)
            turn += 1
            for name in names[begins:] + names[:begins]:
                hear = contenders[name]
                hear(first)  # the caches belong to whoever ran before
                begin = time.perf_counter()
                for index in range(first, min(first + BLOCK, clips)):
                    hear(index)
                spent[name][-1] += time.perf_counter() - begin
        gc.collect()
    gc.enable()
    return spent


def _show(
    variant: str,
    spent: dict[str, list[float]],
    stages: dict[str, float],
    agree: dict[str, int],
    seconds: float,
) -> None:
    rtfx = seconds / np.median(spent["ours"])
    split = ", ".join(f"{stage} {value / sum(stages.values()):.1%}" for stage, value in stages.items())
    sys.stdout.write(f"{variant}: {rtfx:.0f} times as fast as the audio; {split}\n")
    for name, values in spent.items():
        if name == "ours":
            continue
        ratio = paired_speed(spent["ours"], values)
        same = f", same text for {agree[name]}" if name in agree else ""
        sys.stdout.write(f"  ours / {name}: {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]{same}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--variant", action="append", help="fp32 and int8-dynamic unless given")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--utterances", type=int, default=20, help="of the manifest, from its beginning on")
    return parser.parse_args()


if __name__ == "__main__":
    main()
