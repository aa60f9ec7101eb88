"""Time the steps of students on one thread of this CPU, as shares of what it reaches with a matrix product.

    python tests/benchmarks/benchmark_steps.py [--presets 0.2M 3.5M 30M] [--batch-seconds 30]

The same figures as those of gpu.py, which see; operations that call others are counted with them.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from gpu import Size, peaks, training, write_audio, write_teacher

FEW = 12, 3  # steps that are timed and profiled; a third of them for the largest


def main() -> None:
    """Measure and print, a line a student."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=["0.2M", "3.5M", "30M"])
    parser.add_argument("--batch-seconds", type=float, default=30.0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    size = Size(dry=True)
    size.clips, size.clip_seconds, size.batch_seconds = 96, 12.0, asked.batch_seconds
    size.matrix, size.products, size.warm = 2048, 6, 4
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        audio, teacher = write_audio(home / "audio", size), write_teacher(home / "teacher")
        for preset in asked.presets:
            size.timed, size.profiled = (few // (3 if preset == "30M" else 1) for few in FEW)
            report: dict[str, Any] = {"peak_tflops": peaks(size)}
            found = training(preset, audio, teacher, home / preset, size, report)
            kept = {name: found[name] for name in ("step_seconds", "aten_calls_per_step", "share_of_peak")}
            sys.stdout.write(json.dumps({"student": preset, **kept, **report}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
