"""What `kdcompress export` understands by a preset, and how it shows what became of each."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from kdcompress.config.deploy import HARDWARE, PRESETS

if TYPE_CHECKING:
    from kdcompress.quantize.variants import BlankBias
    from kdcompress.runtime.bundle import Bundle

NONE = "none"
NAMES = (*PRESETS, *HARDWARE, NONE)
# \b: a line each, as they are.
PRESET_HELP = "\n\n\b\n" + "\n".join(f"{name:12} {preset.summary}" for name, preset in PRESETS.items())
_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1 << 10, "mib": 1 << 20}


def presets_of(names: list[str] | None) -> tuple[str, ...]:
    """Return the presets that names of presets and of hardware mean, in the order of the presets."""
    if not names:
        return ("int8-dynamic",)
    for name in names:
        if name not in NAMES:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(NAMES)}", param_hint="--quantize")
    wanted = {preset for hardware, preset in HARDWARE.items() if hardware in names} | set(names)
    return tuple(preset for preset in PRESETS if preset in wanted)


def bytes_of(text: str | None) -> int | None:
    """Return what `--max-bytes` says."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in _UNITS or not float(found[1]):
        raise typer.BadParameter(
            f"{text!r} is no size; give bytes, or a number with kB or MB: 500kB", param_hint="--max-bytes"
        )
    return max(1, int(float(found[1]) * _UNITS[found[2].lower()]))


def blank_bias_of(text: str) -> "BlankBias":
    """Return what `--blank-bias` says."""
    match text:
        case "none" | "auto" | "teacher":
            return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise typer.BadParameter(
            f"{text!r} is neither none, auto, teacher nor a number", param_hint="--blank-bias"
        )
    return value


def render_variants(bundle: "Bundle") -> None:
    """Print a table of a new bundle's variants on standard output."""
    from rich.table import Table

    from kdcompress.cli.render import console

    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("variant", "file", "compared with"):
        table.add_column(heading)
    for heading in ("MB", "gzip", "KL per frame", "same best token", "words changed", "del", "ins", "blank"):
        table.add_column(heading, justify="right")
    for variant in bundle.variants.values():
        figures = bundle.parity[variant.name]
        table.add_row(
            variant.name,
            variant.file,
            f"{figures['against']}, {figures['on']}",
            f"{variant.bytes / 1e6:.2f}",
            f"{packed / 1e6:.2f}" if (packed := variant.cost.get("gzip_bytes")) else "",
            f"{figures['kl']:.2g}",
            f"{figures['agreement']:.2%}",
            f"{figures['disagreement']:.2%}" if figures.get("words") else "",
            str(figures.get("deletions", "")),
            str(figures.get("insertions", "")),
            f"{figures['blank_rate']:.1%}",
        )
    screen = console()
    screen.print(table)
    for line in notes(bundle):
        screen.print(line, soft_wrap=True, markup=False)
    screen.print(f"wrote {bundle.directory}", soft_wrap=True, markup=False)


def notes(bundle: "Bundle") -> list[str]:
    """Return what the table has no column for."""
    lines = []
    for name in bundle.variants:
        figures = bundle.parity[name]
        if "blank_bias" in figures:
            lines.append(_bias(name, figures))
        if foreign := figures.get("domains"):
            lines.append(
                f"{name} has operators of {', '.join(foreign)}: only runtimes built on onnxruntime load it"
            )
        if figures.get("fitted") == "nothing":
            lines.append(
                f"{name} was rounded without audio: --audio DIR fits it to speech, which is far better"
            )
    found = bundle.provenance.get("auto")
    return lines + (_search(found) if found else [])


def _bias(name: str, figures: Mapping[str, Any]) -> str:
    bias = figures["blank_bias"]
    before = bias["before"]
    now = figures.get("blank_rate_on_audio", figures["blank_rate"])
    line = f"{name}: blank bias {bias['value']:+.4g}, blank {before['blank_rate']:.2%} -> {now:.2%}"
    if bias["reference"] != "fp32":
        return f"{line} ({bias['reference']})"
    changes = ", ".join(
        f"{what} {before[key]:{form}} -> {figures[key]:{form}}"
        for what, key, form in (
            ("KL", "kl", ".2g"),
            ("words changed", "disagreement", ".2%"),
            ("deletions", "deletions", "d"),
            ("insertions", "insertions", "d"),
        )
    )
    return f"{line}, {changes}"


def _search(found: Mapping[str, Any]) -> list[str]:
    budget = found["budget"]
    limits = f"KL {budget['max_kl']:g} and {budget['max_disagreement']:.2%} of the words changed"
    limits += f" (preferring {budget['prefer']})"
    if budget.get("max_bytes"):
        limits = f"{budget['max_bytes'] / 1e6:.3g} MB"
    lines = [f"auto tried, within {limits}:"]
    for entry in sorted(found["tried"], key=lambda entry: entry["bytes"]):
        time = entry.get("time")
        taken = f", {time['median']:.2f}x the time ({time['low']:.2f}-{time['high']:.2f})" if time else ""
        mark = "*" if entry["name"] == found["chosen"] else " " if entry["within_budget"] else "-"
        lines.append(
            f" {mark} {entry['name']}: {entry['bytes'] / 1e6:.2f} MB, KL {entry['kl']:.2g}, "
            f"{entry['disagreement']:.2%}{taken}"
        )
    if found["chosen"] is None:
        least = min((entry["bytes"] for entry in found["tried"]), default=0)
        lines.append(
            "auto found nothing within the budget: the student stays fp32; the smallest that it tried has "
            f"{least / 1e6:.2f} MB"
        )
    return lines
