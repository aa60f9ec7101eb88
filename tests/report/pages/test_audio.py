import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kdcompress.report.pages.html.audio import embed_audio, find_audio
from kdcompress.report.pages.html.page import render_html
from kdcompress.report.record import parse_report


def decoded(address: str) -> tuple[Any, int]:
    head, data = address.split(",")
    assert head == "data:audio/flac;base64"
    return soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="int16")


def test_what_is_embedded_is_what_the_models_heard(report: dict[str, Any], tmp_path: Path) -> None:
    view = parse_report(report, "it")
    found = embed_audio(["u2"], find_audio(view, ["u2"]))
    samples, rate = decoded(found.addresses["u2"])
    assert rate == 16_000
    np.testing.assert_array_equal(samples, soundfile.read(tmp_path / "u2.wav", dtype="int16")[0])


def test_a_stretch_of_a_long_file_is_cut_out(report: dict[str, Any], tmp_path: Path) -> None:
    ramp = np.arange(32_000, dtype=np.int16)
    soundfile.write(tmp_path / "long.wav", ramp, 16_000)
    line = {"audio_filepath": "long.wav", "offset": 1.0, "duration": 0.5, "text": "go", "id": "u3"}
    (tmp_path / "test.jsonl").write_text(json.dumps(line))
    view = parse_report(report, "it")
    samples, _ = decoded(embed_audio(["u3"], find_audio(view, ["u3"])).addresses["u3"])
    np.testing.assert_array_equal(samples, ramp[16_000:24_000])


def test_without_the_manifest_a_file_of_the_right_length_will_do(
    report: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "test.jsonl").unlink()
    report["utterances"][1]["duration"] = 0.1  # its file is longer: which stretch of it?
    report["utterances"][2]["audio"] = str(tmp_path / "u3.wav")
    assert set(find_audio(parse_report(report, "it"), ["u1", "u2", "u3", "other"])) == {"u1", "u3"}


def test_there_is_a_limit_and_the_page_says_so(report: dict[str, Any]) -> None:
    view = parse_report(report, "it")
    places = find_audio(view, ["u1", "u2", "u3"])
    whole = embed_audio(["u1", "u2", "u3"], places)
    sizes = {id_: len(address.partition(",")[2]) for id_, address in whole.addresses.items()}
    limit = sizes["u1"] + sizes["u3"]
    assert sizes["u1"] + sizes["u2"] > limit - 1 or sizes["u2"] < sizes["u3"]
    found = embed_audio(["u3", "u2", "u1"], places, limit=sizes["u3"] + sizes["u1"])
    assert sum(len(a.partition(",")[2]) for a in found.addresses.values()) <= limit
    assert found.missing == {"u2": "too long for this page"}
    page = render_html(parse_report(report, "it"), embedded=found)
    assert "The audio of 2 of 4 is part of this page" in page
    assert "Left out: 1 file too long for this page." in page


@pytest.mark.parametrize("gone", ["deleted", "not audio"])
def test_audio_that_is_not_at_hand_is_a_sentence(report: dict[str, Any], tmp_path: Path, gone: str) -> None:
    for path in tmp_path.glob("*.wav"):
        path.unlink()
        if gone == "not audio":
            path.write_text("no")
    page = render_html(parse_report(report, "it"))
    assert "<audio" not in page
    assert "Their audio is not in this page. Left out: 4 files not at hand." in page


def test_a_silent_page_has_none(report: dict[str, Any]) -> None:
    assert render_html(parse_report(report, "it")).count("<audio") == 4
    silent = render_html(parse_report(report, "it"), audio=False)
    assert "<audio" not in silent
    assert "Their audio was left out on request." in silent
