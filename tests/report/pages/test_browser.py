"""The page in a real browser, where one is installed."""

from pathlib import Path
from typing import Any

import pytest

from kdcompress.report.pages.html.page import render_html
from kdcompress.report.record import parse_report

pytestmark = pytest.mark.slow

VISIBLE = """[...document.querySelectorAll(%r)].filter(e => {
  const box = e.getBoundingClientRect(); return box.width > 100 && box.height > 50; }).length"""


@pytest.fixture
def page(report: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(render_html(parse_report(report, "it")), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_plots_and_tables_are_there_and_nothing_leaves(
    browser: Any, page: Path, width: int, theme: str
) -> None:
    browser.open(page, width, theme)
    assert browser.evaluate(VISIBLE % "figure svg") == 6
    assert browser.evaluate(VISIBLE % ".scroll table") == 7
    assert browser.evaluate("document.title") == "Speech recognition benchmark: test.jsonl"
    outside = [url for url in browser.requests() if not url.startswith("data:")]
    assert outside == [page.as_uri()]
    assert browser.complaints() == []


def test_a_phone_needs_no_sideways_scrolling(browser: Any, page: Path) -> None:
    for width in (390, 320):
        browser.open(page, width, "light")
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        # Not because something was cut off: wide tables scroll within themselves.
        assert browser.evaluate(
            "[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
        )


def test_the_theme_is_the_systems_until_one_is_chosen(browser: Any, page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(page, 800, "light")
    light, light_shot = browser.evaluate(ground), browser.screenshot()
    browser.open(page, 800, "dark")
    dark, dark_shot = browser.evaluate(ground), browser.screenshot()
    assert light != dark
    assert light_shot != dark_shot
    press = "document.getElementById('theme').click()"
    browser.evaluate(press)  # system, dark here, to light
    assert browser.evaluate(ground) == light
    browser.evaluate(press)
    assert browser.evaluate(ground) == dark
    browser.evaluate(press)
    assert browser.evaluate("document.getElementById('theme').textContent") == "Theme: system"


def test_tables_sort_by_keyboard_and_back(browser: Any, page: Path) -> None:
    browser.open(page, 1400, "light")
    table = "document.querySelector('#table-accuracy table')"
    names = f"[...{table}.tBodies[0].rows].map(row => row.cells[0].innerText.split(' ')[0].trim())"
    state = f"{table}.tHead.rows[0].cells[1].getAttribute('aria-sort')"
    browser.evaluate(f"{table}.tHead.rows[0].cells[1].querySelector('button').focus()")
    for order, said in ((0, "ascending"), (1, "descending")):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                         windowsVirtualKeyCode=13)  # fmt: skip
        assert browser.evaluate(state) == said
        orders = "row => row.cells[1].dataset.order ?? null"
        rates = browser.evaluate(f"[...{table}.tBodies[0].rows].map({orders})")
        figures = [float(rate) for rate in rates[:-1]]
        assert figures == sorted(figures, reverse=bool(order))
        assert rates[-1] is None  # who failed stays last
        assert browser.evaluate(names)[-1] == "broken"


def test_the_worst_utterances_follow_the_chosen_model(browser: Any, page: Path) -> None:
    browser.open(page, 1400, "light")
    order = "document.getElementById('worst-order')"
    choose = f"{order}.value = '%s'; {order}.dispatchEvent(new Event('change'))"
    items = "[...document.querySelectorAll('#worst-list > li')].filter(item => !item.hidden)"
    shown = f"{items}.map(item => item.querySelector('h3').innerText)"
    every = browser.evaluate(shown)
    browser.evaluate(choose % "1")
    assert browser.evaluate(shown) == ["u2", "u1"]
    browser.evaluate(choose % "all")
    assert browser.evaluate(shown) == every


def test_audio_plays(browser: Any, page: Path) -> None:
    browser.open(page, 1400, "light")
    length = """new Promise((done, failed) => {
      const audio = document.querySelector('audio'); audio.onerror = () => failed(audio.error.message);
      audio.readyState ? done(audio.duration) : audio.onloadedmetadata = () => done(audio.duration); })"""
    assert browser.evaluate("document.querySelectorAll('audio').length") == 4
    assert browser.evaluate(length) == pytest.approx(1.0)  # u2, the worst, comes first


def test_a_script_that_got_in_would_not_run(browser: Any, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    planted = "<script>document.title = 'owned'</script><img src='https://example.com/x.png' onerror='x()'>"
    page.write_text(text.replace("<footer>", f"{planted}<footer>"), encoding="utf-8")
    browser.open(page, 800, "light")
    assert browser.evaluate("document.title") != "owned"
    # Refused before anything is sent.
    sent = [e for e in browser.events if e["method"] == "Network.requestWillBeSentExtraInfo"]
    assert sent == []
    assert any("Content Security Policy" in said for said in browser.complaints())
