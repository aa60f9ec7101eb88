"""One small artifact of each kind, made by the commands that users give."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import damage
import numpy as np
import soundfile
import torch
import yaml
from damage import Artifact

from kdcompress.config.student import ConformerConfig
from kdcompress.students.conformer import ConformerStudent
from kdcompress.students.weights import save_student
from kdcompress.text.vocabulary import Vocabulary

TINY = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 2.0, "kernel": 3, "stem_channels": 4}
RECIPE = {
    "seed": 3,
    "student": {**TINY, "dropout": 0.1},
    "data": {"batch_seconds": 5, "buckets": 2, "noise_share": 0.1, "max_bad_share": 0.5},
    "objective": {
        "selection": {"kind": "symmetric", "ms": 80, "prior": {"utterances": 4}},
        # CTC begins with blanks alone, and bench refuses a student that prints nothing.
        "pseudo_label": {"weight": 0},
    },
    "training": {"steps": 2, "validate_every": 1, "log_every": 1, "keep": 2, "peak_lr": 1e-2},
}
COMPARISON = {
    "description": "tiny",
    "seeds": [0, 1],
    "baseline": "all",
    "rows": {"all": ["objective.selection.kind=all"], "trim": ["objective.selection.kind=trim"]},
}


def write_inputs(folder: Path, files: int = 12) -> None:
    """Write a teacher, recordings with a manifest, a recipe and a comparison."""
    torch.manual_seed(5)
    model = ConformerStudent(ConformerConfig.model_validate({**TINY, "frame_shift_ms": 40}), 5)
    with torch.no_grad():
        model.head.weight *= 8
    save_student(folder / "teacher", model, Vocabulary(("<blk>", "|", "a", "b", "c"), 0, "|"), {})
    (folder / "audio").mkdir()
    generator, lines = np.random.default_rng(0), []
    for index in range(files):
        time = np.arange(6400 + 480 * index) / 16_000
        sound = 0.3 * np.sin(2 * np.pi * generator.uniform(200, 3000) * time)
        sound += 0.02 * generator.standard_normal(len(time))
        soundfile.write(folder / "audio" / f"u{index:02}.wav", sound, 16_000)
        lines.append({"audio_filepath": f"audio/u{index:02}.wav", "duration": 0.4, "text": "a b"})
    (folder / "audio" / "broken.wav").write_text("not audio")  # so that there is a list of what was skipped
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    layers = {**RECIPE, "teacher": {"kind": "checkpoint", "path": "teacher"}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(layers))
    (folder / "c.yaml").write_text(yaml.safe_dump({**COMPARISON, "recipe": str(folder / "mine.yaml")}))


def commands(folder: Path) -> dict[str, Sequence[str]]:
    """Return the commands that write something there, by what they write, in an order that works."""
    recipe, audio = str(folder / "mine.yaml"), str(folder / "audio")
    manifest, bundle = str(folder / "m.jsonl"), str(folder / "bundle")
    return {
        "run": ["distill", recipe, "--audio", audio, "--out", str(folder / "run")],
        "cache": ["cache", recipe, "--audio", audio, "--out", str(folder / "cache")],
        "bundle": ["export", str(folder / "run"), "--out", bundle],
        "report.json": ["bench", bundle, "--manifest", manifest, "--limit", "3", "--repeats", "1",
                        "--json", str(folder / "report.json")],
    }  # fmt: skip


def make_artifacts(folder: Path) -> None:
    """Write all artifacts into an empty folder."""
    write_inputs(folder)
    for command in commands(folder).values():
        done = subprocess.run(
            [sys.executable, "-m", "kdcompress", *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"kdcompress {' '.join(command)}: {done.stderr}")


def open_artifacts(folder: Path) -> list[Artifact]:
    """Return those artifacts that are there."""
    run = folder / "run"
    student = ("checkpoints/step-000002/model.safetensors", "checkpoints/step-000002/*.json", "best")
    training = ("checkpoints/step-000002/*", "last", "*.yaml", "environment.json", "data/*.json")
    found = [
        Artifact("student", run, student, damage.student),
        Artifact("training", run, training, damage.resumed),
        Artifact("logs", run, ("*.jsonl",), damage.logs, checked=False),
        Artifact("cache", folder / "cache", ("cache.json", "*.safetensors"), damage.cache),
        Artifact("bundle", folder / "bundle", ("*.onnx", "bundle.json", "tokens.txt"), damage.bundle),
        Artifact("report", folder / "report.json", (), damage.report),
        Artifact("manifest", folder / "m.jsonl", (), damage.manifest, checked=False),
        Artifact("recipe", folder / "mine.yaml", (), damage.recipe_file, checked=False),
        Artifact("comparison", folder / "c.yaml", (), damage.comparison, checked=False),
    ]
    return [artifact for artifact in found if artifact.place.exists()]
