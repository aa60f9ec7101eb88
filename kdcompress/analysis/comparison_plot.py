"""Draw a comparison, for people who would rather look than read (matplotlib, without a display)."""

from io import BytesIO
from pathlib import Path
from typing import Any

from kdcompress.files import write_file


def plot_comparison(summary: dict[str, Any], path: Path) -> None:
    """Draw each row's error rate with its interval, and its seeds as dots."""
    from matplotlib.figure import Figure

    rows = list(summary["rows"].items())
    figure = Figure(figsize=(8, 0.42 * len(rows) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    for at, (_, row) in enumerate(rows):
        wer = row["wer"]
        axes.plot([100 * wer["low"], 100 * wer["high"]], [at, at], color="tab:blue", linewidth=2)
        axes.plot(100 * wer["value"], at, "o", color="tab:blue", markersize=7)
        axes.plot([100 * v for v in row["wer_by_seed"]], [at] * len(row["seeds"]), "k.", markersize=4)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    rate = "phone error rate" if any(row.get("unit") == "phones" for _, row in rows) else "WER"
    axes.set_xlabel(f"{rate} [%]: mean over seeds, 95 % interval over seeds and utterances, and each seed")
    axes.set_title(summary["comparison"]["description"], fontsize=10)
    drawn = BytesIO()
    kind = path.suffix.removeprefix(".") or "png"
    figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_file(path, drawn.getvalue())
