#!/usr/bin/env python3
"""Write what pyproject.toml asks for as requirement files: an image installs it before the code is there.

Usage: requirements.py PYPROJECT DIRECTORY

build.txt builds the wheel, base.txt is the torch-free half, torch.txt the heavy part of the extra `train`,
train.txt the rest of it, dev.txt the extra `dev` without `train`, test.txt that without linters.
"""

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10: pip brings its own reader
    from pip._vendor import tomli as tomllib

_HEAVY = ("torch>", "torchaudio>")
_LINTERS = ("actionlint", "hadolint", "mypy", "ruff", "shellcheck", "types-")


def requirements(project: dict) -> dict[str, list[str]]:
    """Return lines by the name of the file that they belong into."""
    extras = project["project"]["optional-dependencies"]
    dev = [*extras["runtimes"], *(line for line in extras["dev"] if not line.startswith("kdcompress"))]
    return {
        "build": project["build-system"]["requires"],
        "base": project["project"]["dependencies"],
        "torch": [line for line in extras["train"] if line.startswith(_HEAVY)],
        "train": [line for line in extras["train"] if not line.startswith(_HEAVY)],
        "dev": dev,
        "test": [line for line in dev if not line.startswith(_LINTERS)],
    }


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for name, lines in requirements(tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).items():
        (Path(sys.argv[2]) / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
