"""Draw what a search for cuts has found (matplotlib, without a display)."""

from pathlib import Path
from typing import Any


def plot_frontier(frontier: dict[str, Any], path: Path) -> None:
    """Draw bytes against KL of every student on the frontier, with the share of words that it changes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    tried = [entry for entry in frontier["tried"] if entry["kl"] > 0]
    sizes, kls = [entry["bytes"] / 1e6 for entry in tried], [entry["kl"] for entry in tried]
    axes.plot(sizes, kls, "o-", color="tab:blue")
    for entry, size, kl in zip(tried, sizes, kls, strict=True):
        label = f"{entry['disagreement']:.1%} of words, {entry['time']['median']:.2f}× time"
        axes.annotate(label, (size, kl), fontsize=7, xytext=(6, 4), textcoords="offset points")
    if tried:
        axes.plot(sizes[-1], kls[-1], "o", color="black", markersize=14, fillstyle="none")
        axes.set_yscale("log")
    axes.set_xlim(0, 1.15 * frontier["tried"][0]["bytes"] / 1e6)
    axes.grid(alpha=0.3)
    axes.set_xlabel(f"MB (teacher: {frontier['tried'][0]['bytes'] / 1e6:.2f})")
    axes.set_ylabel("KL to the teacher [nats per frame]")
    axes.set_title("Students cut out of the teacher, before any training; ringed: chosen", fontsize=9)
    figure.savefig(path, dpi=150)
