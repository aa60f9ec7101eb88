import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def manifest(say: Callable[[str], npt.NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("test-set")
    soundfile.write(folder / "0.wav", say("ab c"), 16_000)
    line = {"audio_filepath": "0.wav", "text": "ab d"}  # one of two words is never heard so
    (folder / "test.jsonl").write_text(json.dumps(line))
    return folder / "test.jsonl"


def test_pages_are_written_with_the_measurement_and_again_without(
    bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    html, markdown, saved = (tmp_path / f"report.{suffix}" for suffix in ("html", "md", "json"))
    pages = ("--html", html, "--markdown", markdown)
    code, out, err = bench(tone_bundle, "--manifest", manifest, "--repeats", 1, "--json", saved, *pages)
    assert (code, err) == (0, "")
    assert f"{tone_bundle.name} fp32" in out
    first = html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")
    assert "<audio" in first[0]
    assert "**c** ~~d~~" in first[1]
    html.unlink()
    assert bench("--report", saved, *pages) == (0, "", "")
    assert (html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")) == first
    assert bench("--report", saved, "--html", html, "--no-sound", "--worst", 0) == (0, "", "")
    assert "<audio" not in html.read_text(encoding="utf-8")
    assert list(tmp_path.glob(".*")) == []


def test_nothing_is_measured_where_a_page_cannot_be_written(
    bench: Run, tone_bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    code, out, err = bench(tone_bundle, "--manifest", manifest, "--html", tmp_path / "none" / "page.html")
    assert (code, out) == (1, "")
    assert "does not exist; create it first" in err


def test_a_report_that_is_none_is_one_line(bench: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    for content, message in (("{}", "not a report"), ("no", "is not JSON"), (None, "cannot read the report")):
        saved = tmp_path / "saved.json"
        saved.unlink(missing_ok=True)
        if content is not None:
            saved.write_text(content)
        code, out, err = bench("--report", saved, "--html", page)
        assert (code, out) == (1, "")
        assert message in err
        assert len(err.splitlines()) == 1
        assert not page.exists()


def test_a_saved_report_hears_nothing_and_goes_somewhere(
    bench: Run, tone_bundle: Path, tmp_path: Path
) -> None:
    code, _, err = bench("--report", tmp_path / "saved.json")
    assert (code, "--html FILE" in err) == (2, True)
    code, _, err = bench(tone_bundle, "--report", tmp_path / "saved.json", "--html", tmp_path / "page.html")
    assert (code, "takes no bundle" in err) == (2, True)
