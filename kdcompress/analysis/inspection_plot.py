"""The picture of an inspection."""

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdcompress.analysis.advice import Advice
from kdcompress.analysis.inspection import Inspection
from kdcompress.errors import ConfigError
from kdcompress.files import write_file

_BLUE, _ORANGE = "#3465a4", "#ce5c00"
_WIDEST = 25  # bars


def plot_inspection(seen: Inspection, advice: Advice, title: str, path: Path) -> None:
    """Draw spike widths, distances between labels, frames by n, and cache sizes into a PNG.

    Raises:
        ConfigError: the file cannot be written.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    (widths, distances), (selected, sizes) = figure.subplots(2, 2)
    figure.suptitle(f"{title}: {seen.blanks / max(1, seen.frames):.0%} of the frames are blank")
    _bars(widths, dict(seen.spike_widths), "spike width [frames]", "spikes")
    _bars(distances, dict(seen.distances), "from label to label [frames]", "pairs of labels")
    shift = seen.frame_shift * 1000
    shares = [100 * share for share in seen.selected_shares]
    selected.plot([n * shift for n in range(len(shares))], shares, "o-", color=_BLUE)
    selected.axvline(advice.n_ms, color=_ORANGE, linestyle="--", label=f"advised: {advice.n_ms} ms")
    selected.set(xlabel="n [ms]", ylabel="frames selected [%]", ylim=(0, 105))
    selected.legend()
    megabytes = seen.mb_per_hour(advice.n_frames)
    sizes.barh(list(megabytes), list(megabytes.values()), color=_BLUE)
    sizes.invert_yaxis()
    sizes.set(xlabel="cache [MB per hour of audio]")
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    try:
        write_file(path, drawn.getvalue())
    except OSError as error:
        raise ConfigError(f"cannot write the plot {path}: {error.strerror or error}") from error


def _bars(axes: Axes, counts: dict[int, int], label: str, of: str) -> None:
    """Draw a histogram; what is wider than the picture is counted in its last bar."""
    folded: dict[int, int] = {}
    for value, count in counts.items():
        folded[min(value, _WIDEST)] = folded.get(min(value, _WIDEST), 0) + count
    axes.bar(list(folded), list(folded.values()), color=_BLUE)
    axes.set(xlabel=label if max(counts, default=0) <= _WIDEST else f"{label}, {_WIDEST} and more", ylabel=of)
