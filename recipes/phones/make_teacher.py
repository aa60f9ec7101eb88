"""Write the phone teacher's directory from the installed package `hama` (PyPI, 1.3.13).

    pip install --no-deps hama==1.3.13
    python recipes/phones/make_teacher.py runs/phone-teacher

The directory holds the package's ONNX graph as it is, its tokens, and how its input is to be scaled; every
command that takes a teacher opens it. Nothing of the package is part of this project.
"""

import argparse
import importlib.util
import json
import shutil
import sys
from pathlib import Path

GRAPH = "asr_waveform_fp16.onnx"
BOUNDARY, BLANK = "▁", "<blk>"
SPACE = "<space>"  # the list has a token that is a space; a line of tokens.txt cannot


def read_tokens(vocabulary: Path) -> list[str]:
    """Return the graph's units in order: the package's phones, then word boundary and blank."""
    phones = json.loads(vocabulary.read_text(encoding="utf-8"))["decoder"]
    return [SPACE if phone == " " else phone for phone in phones] + [BOUNDARY, BLANK]


def write_teacher(package: Path, out: Path) -> None:
    """Write the directory of a teacher.

    Raises:
        FileNotFoundError: the package lacks its graph or its vocabulary.
    """
    assets = package / "assets"
    tokens = read_tokens(assets / "g2p_vocab.json")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(assets / GRAPH, out / "model.onnx")
    lines = "".join(f"{token} {index}\n" for index, token in enumerate(tokens))
    (out / "tokens.txt").write_text(lines, encoding="utf-8")
    settings = {"do_normalize": False, "sampling_rate": 16_000}
    (out / "preprocessor_config.json").write_text(json.dumps(settings) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the directory to write")
    parser.add_argument("--package", type=Path, help="the package's folder, where it is not installed")
    arguments = parser.parse_args()
    package = arguments.package
    if package is None:
        found = importlib.util.find_spec("hama")
        if found is None or found.origin is None:
            sys.exit("the package hama is not installed: pip install --no-deps hama==1.3.13")
        package = Path(found.origin).parent
    try:
        write_teacher(package, arguments.out)
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is not there: this is another version than hama 1.3.13")
    sys.stdout.write(f"{arguments.out}: a teacher of phones\n")


if __name__ == "__main__":
    main()
