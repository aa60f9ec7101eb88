"""Draw docs/selection.svg: which frames each pattern selects, asked of the code that trains.

    python docs/selection_figure.py           rewrite it
    python docs/selection_figure.py --check   exit 1 if it is not what the code says

The teacher's answer is made up: 30 frames of 40 ms, two words, a pause. It is read in light and in dark.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from kdcompress.config.pattern import Width
from kdcompress.config.selection import (
    SelectAll,
    SelectEliminate,
    Selection,
    SelectRandom,
    SelectSides,
    SelectSymmetric,
    SelectThreshold,
    SelectTrim,
)
from kdcompress.distill.objective.selection import draw_keys, select_frames

FILE = Path(__file__).with_name("selection.svg")
SHIFT = 0.04  # [s]
FRAMES = 30
LABELS = {4: "c", 5: "c", 8: "a", 11: "t", 12: "t", 21: "s", 24: "a", 25: "a", 27: "t"}
DOUBTFUL = {
    3: 0.08,
    6: 0.05,
    10: 0.03,
    13: 0.02,
    16: 0.04,
    20: 0.06,
    23: 0.03,
}  # blanks, and what is not blank
PATTERNS: list[tuple[str, Selection]] = [
    ("all", SelectAll()),
    ("eliminate", SelectEliminate()),
    ("symmetric, n = 1", SelectSymmetric(frames=1)),
    ("symmetric, n = 2 (80 ms)", SelectSymmetric(ms=80)),
    ("sides, 2 before, 0 after", SelectSides(left=Width(frames=2))),
    ("trim", SelectTrim()),
    ("threshold, θ = 0.01", SelectThreshold(mass=0.01)),
    ("random, r = 1", SelectRandom(ratio=1)),
]
LEFT, TOP, CELL, ROW = 200, 64, 22, 28


def patterns() -> list[tuple[str, Tensor]]:
    """Return each pattern's name and the frames [T] that it selects."""
    labels, lengths = torch.zeros(1, FRAMES, dtype=torch.bool), torch.tensor([FRAMES])
    labels[0, list(LABELS)] = True
    mass = torch.full((1, FRAMES), 1e-4)
    for frame in range(FRAMES):
        mass[0, frame] = 0.97 if frame in LABELS else DOUBTFUL.get(frame, 1e-4)
    keys = draw_keys(0, 0, ["figure"])
    return [
        (name, select_frames(chosen, labels, lengths, SHIFT, nonblank_BT=mass.log(), keys_B=keys)[0])
        for name, chosen in PATTERNS
    ]


def cells(frames: Tensor, y: int) -> str:
    """Return a row of frames: label frames, other selected ones, and those left out."""
    drawn = []
    for frame in range(FRAMES):
        kind = "out" if not frames[frame] else "label" if frame in LABELS else "near"
        x, width = LEFT + frame * CELL, CELL - 3
        drawn.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{width}" rx="3"/>')
    return "".join(drawn)


def figure() -> str:
    """Return the drawing."""
    rows = patterns()
    width, height = LEFT + FRAMES * CELL + 72, TOP + ROW * len(rows) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="title desc">',
        '<title id="title">Frames that each selection pattern keeps</title>',
        '<desc id="desc">Thirty frames of a teacher that says "cat", pauses and says "sat". One row for '
        "each pattern: label frames are strong, other selected frames faint, those left out are outlines. "
        + " ".join(f"{name}: {int(kept.sum())} of {FRAMES}." for name, kept in rows)
        + "</desc>",
        "<style>",
        'text { font: 14px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }',
        ".name { text-anchor: end } .token { text-anchor: middle; font-weight: 600 }",
        ".small { font-size: 12px; fill: #59636e } .out { fill: none; stroke: #b8c0c8 }",
        ".label { fill: #1f6fb2 } .near { fill: #8fc1ea }",
        "@media (prefers-color-scheme: dark) {",
        "text { fill: #e6edf3 } .small { fill: #9da7b3 } .out { stroke: #4b535d }",
        ".label { fill: #79b8f3 } .near { fill: #285f92 } }",
        "</style>",
        f'<text class="name small" x="{LEFT - 14}" y="24">time</text>',
    ]
    for frame in range(0, FRAMES + 1, 5):
        lines.append(f'<text class="small" x="{LEFT + frame * CELL}" y="24">{frame * SHIFT:g} s</text>')
    lines.append(f'<text class="name" x="{LEFT - 14}" y="50">the teacher\'s best token</text>')
    for frame in range(FRAMES):
        token = LABELS.get(frame, "·")
        lines.append(f'<text class="token" x="{LEFT + frame * CELL + 9.5}" y="50">{token}</text>')
    for index, (name, kept) in enumerate(rows):
        y = TOP + index * ROW
        lines.append(f'<text class="name" x="{LEFT - 14}" y="{y + 15}">{name}</text>')
        lines.append(cells(kept, y))
        share = f"{int(kept.sum())} of {FRAMES}"
        lines.append(f'<text class="small" x="{LEFT + FRAMES * CELL + 8}" y="{y + 15}">{share}</text>')
    y = TOP + ROW * len(rows) + 8
    for offset, kind, text in (
        (0, "label", "label"),
        (90, "near", "blank, selected"),
        (250, "out", "left out"),
    ):
        x = LEFT + offset
        lines.append(f'<rect class="{kind}" x="{x}" y="{y}" width="14" height="14" rx="3"/>')
        lines.append(f'<text class="small" x="{x + 20}" y="{y + 12}">{text}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        FILE.write_text(figure(), encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != figure():
        sys.exit("docs/selection.svg is not what the code says: run python docs/selection_figure.py")


if __name__ == "__main__":
    main()
