import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcompress.report.pages import figures


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.00138, "0.00138"), (0.0999, "0.0999"), (0.09996, "0.100"), (9.999, "10.0"), (12345.6, "12346"),
     (-0.5, "−0.500"), (0.0, "0"), (None, "–")],
)  # fmt: skip
def test_three_digits_mean_something(value: float | None, written: str) -> None:
    assert figures.significant(value) == written


@given(st.floats(1e-9, 1e9), st.integers(1, 6))
def test_digits_are_enough(value: float, digits: int) -> None:
    written = figures.significant(value, digits)
    assert "e" not in written
    assert float(written) == pytest.approx(value, rel=0.5001 * 10 ** (1 - digits))


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (2e-5, "20.0 µs"),
        (0.0033, "3.30 ms"),
        (7.249, "7.25 s"),
        (119, "119 s"),
        (357, "5.95 min"),
        (9000, "2.50 h"),
    ],
)
def test_times_have_the_unit_that_fits(seconds: float, written: str) -> None:
    assert figures.duration(seconds) == written


def test_sizes_counts_and_probabilities() -> None:
    assert [figures.size(n) for n in (12, 697_689, 7.2e6, 1.5e9, None)] == [
        "12 B",
        "698 kB",
        "7.20 MB",
        "1.50 GB",
        "–",
    ]
    assert figures.count(1234567) == "1\u202f234\u202f567"
    assert [figures.probability(p) for p in (0.0004, 0.012, 1.0)] == ["< 0.001", "0.012", "1.000"]
    assert figures.fixed(-0.001, 2) == "0.00"
    assert [figures.short(v) for v in (0.001, 12.5, 100, 0.0)] == ["0.001", "12.5", "100", "0"]
    assert figures.plural(1, "pass", "passes") + figures.plural(2, "pass", "passes") == "1 pass2 passes"
    assert figures.listed(["a"]) + figures.listed(["a", "b", "c"]) == "aa, b and c"


@given(st.text(min_size=1, max_size=40), st.integers(8, 40))
def test_a_shortened_name_keeps_both_ends(name: str, length: int) -> None:
    short = figures.shortened(name, length)
    assert len(short) <= length
    assert (short[0], short[-1]) == (name[0], name[-1])
