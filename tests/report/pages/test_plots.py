import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.report.pages.html.axes import scale
from kdcompress.report.pages.html.labels import Box, place, plot_names, spread
from kdcompress.report.record import CandidateResult, ReferenceText, Report, Settings

BOUNDS = Box(50, 10, 450, 280)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8))
def test_a_scale_holds_all_values_in_order(values: list[float]) -> None:
    axis = scale(values, 50, 450)
    places = [axis(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(50 <= at <= 450 for at in places)
    assert axis.low < min(values) <= max(values) < axis.high or axis.low == 0
    assert 1 <= len(axis.ticks) <= 9
    assert all(axis.low * (1 - 1e-9) <= tick <= axis.high * (1 + 1e-9) for tick in axis.ticks)


def test_a_wide_range_is_logarithmic_and_a_narrow_one_starts_at_zero() -> None:
    wide = scale([0.002, 0.2], 0, 100)
    assert wide.log
    assert wide(math.sqrt(0.002 * 0.2)) == pytest.approx(50)
    assert wide.ticks == (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
    narrow = scale([5.0, 15.0], 0, 100)
    assert (narrow.log, narrow.low, narrow.ticks) == (False, 0.0, (0, 5, 10, 15))


points = st.tuples(st.integers(1, 5).map(lambda n: 70.0 * n), st.integers(1, 4).map(lambda n: 55.0 * n))


@given(st.lists(points, unique=True, min_size=1, max_size=8), st.data())
def test_names_do_not_cover_each_other_or_the_points(
    found: list[tuple[float, float]], data: st.DataObject
) -> None:
    names = [data.draw(st.text("abcdefgh", min_size=3, max_size=9)) for _ in found]
    placed = place(found, names, [], BOUNDS)
    boxes = [spot.box for spot in placed]
    for at, box in enumerate(boxes):
        assert box.outside(BOUNDS) == 0
        assert all(box.overlap(other) == 0 for other in boxes[:at])
        assert not any(box.left < x < box.right and box.top < y < box.bottom for x, y in found)


def test_close_points_share_the_room_around_them() -> None:
    found = [(200.0, 100.0), (240.0, 100.0), (220.0, 112.0)]
    boxes = [spot.box for spot in place(found, ["a long name", "a longer name", "another"], [], BOUNDS)]
    assert boxes[0].overlap(boxes[1]) == boxes[0].overlap(boxes[2]) == boxes[1].overlap(boxes[2]) == 0
    assert not any(box.overlap(Box(x - 5, y - 5, x + 5, y + 5)) for box in boxes for x, y in found)


def test_names_avoid_bars_too() -> None:
    bar = Box(209, 100, 300, 120)
    (spot,) = place([(200, 110)], ["beside it"], [bar], BOUNDS)
    assert spot.box.overlap(bar) == 0


@given(st.lists(st.floats(0, 100), max_size=6))
def test_spread_places_keep_their_order_and_a_gap(places: list[float]) -> None:
    moved = spread(places, 15, 0, 100)
    order = sorted(range(len(places)), key=lambda at: places[at])
    gaps = [moved[b] - moved[a] for a, b in pairwise(order)]
    assert all(gap >= 15 - 1e-9 for gap in gaps)
    assert all(-1e-9 <= at <= 100 for at in moved)
    if all(b - a >= 15 for a, b in pairwise(sorted(places))):
        assert moved == pytest.approx(places)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["demo fp32", "demo int8"], ["fp32", "int8"]),
        (["my demo fp32", "my demo fp32 (other)"], ["fp32", "fp32 (other)"]),
        (["demo", "demo int8"], ["demo", "demo int8"]),
        (["an4 fp32", "demo fp32"], ["an4 fp32", "demo fp32"]),
        (["demo fp32"], ["demo fp32"]),
        (["demo  fp32", "x"], ["demo fp32", "x"]),
    ],
)
def test_plots_leave_out_what_all_names_begin_with(names: list[str], short: list[str]) -> None:
    report = Report(
        settings=Settings(normalizer="basic", reference=names[0]),
        utterances=(ReferenceText(id="u", duration=1.0, reference="a"),),
        results=tuple(CandidateResult(name=name, hypotheses={"u": "a"}) for name in names),
    )
    assert list(plot_names(report).values()) == short
