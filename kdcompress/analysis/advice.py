"""What to choose for a teacher and its audio: n, the student's frame shift, the storage of a cache."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from kdcompress.analysis.inspection import LARGEST_N, TOP_K, Inspection

_JOINED = 0.8  # of neighbouring labels
_LEAST_MS = 80
_MOST_SHARED = 0.01  # of labels
_MOST_TOO_SHORT = 0.005  # of utterances
# Of the frames. A teacher of read speech was unsure of 0.5 % of them in its own domain and of 9 % outside of
# it: this is six times the one and a third of the other.
_MOST_UNSURE = 0.03


@dataclass(frozen=True)
class Advice:
    """What to choose for this teacher and this audio, each with its reason.

    Attributes:
        warning: that the teacher seems not to know such audio; empty where it does.
    """

    n_frames: int
    n_ms: int
    n_reason: str
    frame_shift_ms: int
    frame_shift_reason: str
    frames: Literal["all", "selected"]
    top_k: int | None
    storage_reason: str
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def advise(seen: Inspection) -> Advice:
    """Choose n, the student's frame shift and the storage of a cache from the counts."""
    joining = next((n for n in range(LARGEST_N) if seen.joined_share(n) >= _JOINED), LARGEST_N)
    n = min(LARGEST_N, max(joining, round(_LEAST_MS / 1000 / seen.frame_shift)))
    n_ms = round(n * seen.frame_shift * 1000)
    n_reason = (
        f"windows of {n_ms} ms on each side meet between {seen.joined_share(n):.0%} of neighbouring labels "
        f"(not below {_LEAST_MS} ms, the default) and select {seen.selected_shares[n]:.0%} of the frames; "
        "longer pauses are left to the occupancy term"
    )
    shifts, collisions = seen.student_shifts, seen.collisions
    fitting = [
        s
        for s in shifts
        if collisions[s] <= _MOST_SHARED and seen.too_short[s] <= _MOST_TOO_SHORT * seen.utterances
    ]
    own = round(seen.frame_shift * 1000)
    shift = max(fitting, default=own)
    shares = ", ".join(f"{collisions[s]:.1%} at {s} ms" for s in shifts)
    shift_reason = (
        f"the longest at which at most {_MOST_SHARED:.0%} of the labels share a frame with another ({shares})"
        if fitting
        else f"the teacher's own: labels share frames at every other ({shares})"
    )
    sizes = seen.mb_per_hour(n)
    whole, best_few = sizes["all"], sizes[f"all top-{TOP_K}"]
    top_k = TOP_K if best_few < whole / 2 else None
    size = best_few if top_k else whole
    storage_reason = (
        f"{size:.1f} MB per hour and n stays free"
        + (f"; all {seen.tokens} tokens would be {whole:.1f} MB" if top_k else "")
        + (f", {TOP_K} tokens of {seen.tokens} would save too little" if not top_k else "")
    )
    unsure = seen.unsure / max(1, seen.frames)
    warning = ""
    if unsure > _MOST_UNSURE:
        warning = (
            f"the teacher is unsure of {unsure:.1%} of the frames (more than {_MOST_UNSURE:.0%}; 0.5 % is "
            "usual in a teacher's own domain): this audio may be unlike what it was trained on. Read the "
            "samples; a student learns its teacher's errors: choose another teacher, or fine-tune this one"
        )
    return Advice(n, n_ms, n_reason, shift, shift_reason, "all", top_k, storage_reason, warning)
