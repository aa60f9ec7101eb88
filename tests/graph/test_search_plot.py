from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcompress.graph.search_plot import plot_search


def entry(name: str, size: int, kl: float, within: bool, timed: bool) -> dict[str, Any]:
    time = {"time": {"low": 0.6, "median": 0.7, "high": 0.9}} if timed else {}
    return {"name": name, "bytes": size, "kl": kl, "disagreement": 0, "within_budget": within, **time}


@pytest.mark.parametrize("chosen", ["int8", None])
def test_a_picture_is_drawn_of_any_search(
    tmp_path: Path, chosen: str | None, ink: Callable[[Path], float]
) -> None:
    search: dict[str, Any] = {
        "budget": {"max_kl": 0.001 if chosen else 0.0, "max_disagreement": 0.01, "prefer": "speed"},
        "chosen": chosen,
        "fp32_bytes": 4_000_000,
        "tried": [
            entry("int8", 1_100_000, 0.0002, True, True),
            entry("float", 2_000_000, 0.0, True, False),
            entry("int4", 700_000, 0.02, False, True),
        ],
    }
    plot_search(search, tmp_path / "auto.png")
    plot_search({**search, "tried": search["tried"][:1]}, tmp_path / "one.png")
    assert 0.01 < ink(tmp_path / "one.png") < ink(tmp_path / "auto.png") < 0.5
