from typing import Any

import pytest

from kdcompress.report.pages.view import Estimate, ReportView, estimate, number


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
    report = ReportView({"kind": "kdcompress-bench", "results": [{"name": name} for name in names]})
    assert [report.plot_name(entry) for entry in report.entries] == short


def test_figures_are_finite_numbers_or_none() -> None:
    data: dict[str, Any] = {"a": {"b": 2}, "c": float("nan"), "d": True, "e": "1"}
    assert number(data, "a", "b") == 2.0
    assert [number(data, key) for key in ("a", "c", "d", "e", "f")] == [None] * 5
    assert estimate({"x": {"median": 3, "low": 1}}, "x") == Estimate(3.0, 1.0, None)
    assert estimate({"x": {"low": 1}}, "x") is None
