"""Put a trained teacher beside the demo in half precision, with the record of its training.

    python publish.py runs/demo-teacher

writes teacher/ here: model.safetensors (float16), student.json, metrics.jsonl, environment.json.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from kdcompress.students.weights import load_student, save_student

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Convert the run's best checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    found = load_student(run)
    kept = {key: found.record[key] for key in ("step", "teacher", "frame_shift", "objective", "figures")}
    save_student(HERE / "teacher", found.model, found.vocabulary, kept, dtype=torch.float16)
    shutil.copyfile(run / "metrics.jsonl", HERE / "teacher" / "metrics.jsonl")
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    del environment["command"]  # names folders of the machine that trained
    (HERE / "teacher" / "environment.json").write_text(
        json.dumps(environment, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
