"""Draw what `auto` tried (matplotlib, without a display)."""

from pathlib import Path
from typing import Any


def plot_search(search: dict[str, Any], path: Path) -> None:
    """Draw bytes against KL of everything that was tried, with the budget and the choice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    floor = min((entry["kl"] for entry in search["tried"] if entry["kl"] > 0), default=1e-6) / 2
    for entry in search["tried"]:
        time_ = entry.get("time")
        colour = "tab:blue" if entry["within_budget"] else "tab:red"
        kl = max(entry["kl"], floor)
        axes.plot(entry["bytes"] / 1e6, kl, "o" if time_ else ".", color=colour, markersize=7 if time_ else 5)
        if entry["name"] == search["chosen"]:
            axes.plot(entry["bytes"] / 1e6, kl, "o", color="black", markersize=14, fillstyle="none")
        label = f"{entry['name']}, {entry['disagreement']:.1%} of words"
        if time_:
            label += f", {time_['median']:.2f}× time"
        axes.annotate(
            label, (entry["bytes"] / 1e6, kl), fontsize=6, xytext=(6, 2), textcoords="offset points"
        )
    budget, limit = search["budget"]["max_kl"], search["budget"].get("max_bytes")
    if limit:
        axes.axvline(limit / 1e6, color="tab:red", linewidth=1, linestyle="--")
    elif budget > 0:
        axes.axhline(budget, color="tab:red", linewidth=1, linestyle="--")
    axes.set_yscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(left, right + 0.5 * (right - left))  # room for the labels
    axes.grid(alpha=0.3)
    axes.set_xlabel(f"MB (fp32: {search['fp32_bytes'] / 1e6:.2f})")
    axes.set_ylabel("KL to fp32 [nats per frame]; dashed: budget")
    over = f"{budget:g} nats or {search['budget']['max_disagreement']:.1%} of words changed"
    if limit:
        over = f"{limit / 1e6:.3g} MB"
    axes.set_title(f"Mixtures of precisions; ringed: chosen; red: over {over}", fontsize=9)
    figure.savefig(path, dpi=150)
