"""Run the tests marked gpu and measure training, teacher and bench on this machine's GPU.

    python tests/benchmarks/gpu.py [--out gpu.json] [--dry-run]

Takes under nine minutes and needs no network: audio and models are made here, of random weights where speed
is all that counts. Each part is kept though another fails; its error is then in its place. `--dry-run` does
the same on a CPU in tiny sizes: it shows that the script works, its figures mean nothing.

training  step_seconds (of the steps after the warm-up), launches, waits and aten calls a step by the
          profiler, flops a step by torch's counter, and their share of the peak: what this card reaches with
          a large matrix product in the precision that is trained in
teacher   hours of audio an hour, of a model of HuBERT-large's shape behind `Teacher.posteriors`, in float32
          and under bf16 autocast, and the KL between the two [nats a frame]
bench     the report of `kdcompress bench --provider cuda` on a student that was trained above
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from kdcompress.config.recipe import Recipe
from kdcompress.config.student import ConformerConfig
from kdcompress.config.teacher import HuggingFaceTeacher, Precision
from kdcompress.distill.loop import distill
from kdcompress.files import write_file
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import save_student
from kdcompress.teachers.open import open_teacher
from kdcompress.text.vocabulary import Vocabulary

BUDGET = 520.0  # [s] for all parts: what begins later is left out, what takes longer is ended
BEGUN = time.monotonic()
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
WAITS = {
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "cudaEventSynchronize",
    "aten::_local_scalar_dense",
}


class Size:
    """How much of everything."""

    def __init__(self, dry: bool) -> None:
        self.device = "cpu" if dry else "cuda"
        self.presets = ("0.2M",) if dry else ("0.2M", "3.5M", "30M")
        self.clips, self.clip_seconds = (8, 1.0) if dry else (96, 12.0)
        self.batch_seconds = 3.0 if dry else 240.0
        self.warm, self.timed, self.profiled = (1, 2, 1) if dry else (15, 40, 5)
        self.matrix, self.products = (128, 2) if dry else (8192, 20)
        self.teacher_batches, self.teacher_rows = (1, 1) if dry else (8, 16)
        self.teacher: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        self.teacher |= {"intermediate_size": 24, "conv_dim": (8,) * 7}
        if not dry:
            self.teacher = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
            self.teacher |= {"intermediate_size": 4096, "conv_dim": (512,) * 7}


def main() -> None:
    """Measure, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    if not asked.dry_run and not torch.cuda.is_available():
        sys.exit("no CUDA device: run it where there is one, or with --dry-run")
    size = Size(asked.dry_run)
    report: dict[str, Any] = {"dry_run": asked.dry_run, "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        audio, teacher = write_audio(home / "audio", size), write_teacher(home / "teacher")
        parts: dict[str, Callable[[], Any]] = {"peak_tflops": lambda: peaks(size)}
        for preset in size.presets:
            run = home / "runs" / preset
            parts[f"training/{preset}"] = lambda preset=preset, run=run: training(
                preset, audio, teacher, run, size, report
            )
        parts["teacher"] = lambda: teacher_speed(home / "hubert", size)
        parts["bench"] = lambda: bench(home / "runs" / size.presets[0], audio, home, size)
        parts["tests"] = lambda: gpu_tests(asked.dry_run)
        for name, part in parts.items():
            started = time.monotonic()
            if started - BEGUN > BUDGET:
                report[name] = {"error": "no time left"}
                continue
            try:
                report[name] = part()
            except Exception as error:  # the other parts are worth having
                traceback.print_exc()
                report[name] = {"error": f"{type(error).__name__}: {error}"}
            sys.stderr.write(f"{name}: {time.monotonic() - started:.0f} s\n")
            report["seconds"] = round(time.monotonic() - BEGUN, 1)
            write_file(asked.out, json.dumps(report, indent=1) + "\n")
    sys.stdout.write(f"{asked.out}: {report['seconds']} s\n")
    if failed := [name for name, part in report.items() if isinstance(part, dict) and "error" in part]:
        sys.exit(f"not measured: {', '.join(failed)}; the reasons are in {asked.out}")


def machine() -> dict[str, Any]:
    """Return what was measured on."""
    found: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version(), "gpu": None}
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found |= {"gpu": card.name, "memory_gib": round(card.total_memory / 2**30, 1)}
        found |= {"cuda": torch.version.cuda, "capability": f"{card.major}.{card.minor}"}
    return found


def write_audio(folder: Path, size: Size) -> Path:
    """Write clips of noise that swells, of several durations."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(size.clips):
        samples = int(16_000 * size.clip_seconds * (0.6 + 0.4 * index / size.clips))
        sound = 0.1 * rng.standard_normal(samples) * (1 + np.sin(np.arange(samples) / 3000))
        soundfile.write(folder / f"{index:03}.flac", sound.clip(-1, 1), 16_000)
    return folder


def write_teacher(folder: Path) -> Path:
    """Write a teacher of random weights that does not say blank all the time."""
    torch.manual_seed(0)
    shape = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 2, "kernel": 3, "stem_channels": 4}
    model = ConformerStudent(ConformerConfig.model_validate({**shape, "frame_shift_ms": 40}), 29)
    with torch.no_grad():
        model.head.weight *= 8
    save_student(folder, model, Vocabulary(("<blk>", "|", *LETTERS), 0, "|"), {})
    return folder


def left(most: float) -> float:
    """Return how long a command may take [s]."""
    return max(1.0, min(most, BUDGET - (time.monotonic() - BEGUN)))


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peaks(size: Size) -> dict[str, float]:
    """Return the rate of a large matrix product by precision [TFLOP/s]."""
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        one = torch.randn(size.matrix, size.matrix, device=size.device, dtype=dtype)
        for _ in range(2):
            one @ one
        wait()
        started = time.perf_counter()
        for _ in range(size.products):
            one @ one
        wait()
        found[name] = 2 * size.matrix**3 * size.products / (time.perf_counter() - started) / 1e12
    return found


class Watch:
    """An observer that times some steps, profiles the next ones, and counts the operations of the last."""

    def __init__(self, size: Size) -> None:
        self.size, self.step_seconds, self.flops = size, 0.0, 0
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (size.device == "cuda")
        self.profiler = profile(activities=activities)
        self.counter = FlopCounterMode(display=False)

    def stage(self, *_: Any) -> None: ...
    def say(self, *_: Any) -> None: ...
    def validated(self, *_: Any) -> None: ...

    @property
    def total(self) -> int:
        """Steps to train."""
        return self.size.warm + self.size.timed + self.size.profiled + 2

    def step(self, step: int, total: int, figures: dict[str, Any]) -> None:
        """Begin and end what is measured."""
        timed = self.size.warm + self.size.timed
        if step == self.size.warm:
            wait()
            self.started = time.perf_counter()
        elif step == timed:
            wait()
            self.step_seconds = (time.perf_counter() - self.started) / self.size.timed
            self.profiler.start()
        elif step == timed + self.size.profiled:
            self.profiler.stop()
            self.counter.__enter__()
        elif step == timed + self.size.profiled + 1:
            self.counter.__exit__(None, None, None)
            self.flops = self.counter.get_total_flops()


def training(
    preset: str, audio: Path, teacher: Path, run: Path, size: Size, report: dict[str, Any]
) -> dict[str, Any]:
    """Train a student for some steps by the command's own loop."""
    watch = Watch(size)
    recipe = Recipe.model_validate(
        {
            "teacher": {"kind": "checkpoint", "path": str(teacher)},
            "student": {"preset": preset},
            "data": {"audio": str(audio), "batch_seconds": size.batch_seconds, "speed": [1.0]},
            "training": {"steps": watch.total, "validate_every": 10_000, "log_every": 10_000},
        }
    )
    distill(recipe, run, watch)
    counts = {event.key: event.count / size.profiled for event in watch.profiler.key_averages()}
    precision = "bf16" if size.device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    peak = report.get("peak_tflops", {}).get(precision, float("nan"))
    return {
        "step_seconds": watch.step_seconds,
        "audio_seconds_per_second": size.batch_seconds / watch.step_seconds,
        "precision": precision,
        "waits_per_step": {name: count for name, count in counts.items() if name in WAITS},
        "copies_to_host_per_step": sum(count for name, count in counts.items() if "DtoH" in name),
        "launches_per_step": sum(count for name, count in counts.items() if "LaunchKernel" in name),
        "aten_calls_per_step": sum(count for name, count in counts.items() if name.startswith("aten::")),
        "tflop_per_step": watch.flops / 1e12,
        "share_of_peak": watch.flops / 1e12 / watch.step_seconds / peak,
    }


def teacher_speed(folder: Path, size: Size) -> dict[str, float]:
    """Return how fast a large teacher of random weights is, and what bf16 changes of its output."""
    from kdcompress.frontend.torchaudio_import import load_torchaudio

    load_torchaudio()  # transformers would import it, and fail beside some builds of torch
    import transformers

    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=29, feat_extract_norm="layer", do_stable_layer_norm=True, **size.teacher
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    units = ("<pad>", "|", *LETTERS)
    (folder / "vocab.json").write_text(json.dumps({unit: index for index, unit in enumerate(units)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    samples = int(16_000 * size.clip_seconds)
    waveforms = 0.1 * torch.randn(size.teacher_rows, samples, device=size.device)
    lengths = torch.full((size.teacher_rows,), samples, device=size.device)
    found, outputs = {}, []
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for name in precisions:
        config = HuggingFaceTeacher(path=str(folder), precision=name)
        teacher = open_teacher(config, torch.device(size.device))
        outputs.append(teacher.posteriors(waveforms, lengths).log_probs)
        wait()
        started = time.perf_counter()
        for _ in range(size.teacher_batches):
            teacher.posteriors(waveforms, lengths)
        wait()
        audio = size.teacher_batches * size.teacher_rows * size.clip_seconds
        found[f"{name}_hours_per_hour"] = audio / (time.perf_counter() - started)
    exact, rounded = outputs
    found["bf16_kl"] = float((exact.exp() * (exact - rounded)).sum(-1).mean())
    return found


def bench(run: Path, audio: Path, home: Path, size: Size) -> Any:
    """Export a student and run `kdcompress bench` on it."""
    bundle, report = home / "bundle", home / "bench.json"
    command = [sys.executable, "-m", "kdcompress"]
    subprocess.run([*command, "export", str(run), "--out", str(bundle)], check=True, timeout=left(180))
    provider = "cuda" if size.device == "cuda" else "cpu"
    command += ["bench", str(bundle), "--audio", str(audio), "--provider", provider, "--repeats", "2"]
    ended = subprocess.run(
        [*command, "--limit", "16", "--json", str(report)], capture_output=True, text=True, timeout=left(180)
    )
    if not report.is_file():
        return {"error": ended.stderr.strip().splitlines()[-1:]}
    return json.loads(report.read_text(encoding="utf-8"))


def gpu_tests(dry: bool) -> dict[str, Any]:
    """Run the tests marked gpu; a dry run collects them only."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, *["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "gpu"]]
    # A dry run sees that there are some.
    command += ["--collect-only", "tests/distill/test_distributed.py"] if dry else ["tests"]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=left(240))
    lines = ended.stdout.strip().splitlines() or [""]
    return {
        "exit_code": ended.returncode,
        "summary": lines[-1],
        "failed": re.findall(r"FAILED (\S+)", ended.stdout),
    }


if __name__ == "__main__":
    main()
