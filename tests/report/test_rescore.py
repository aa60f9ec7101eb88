"""Raw hypotheses out and in again, and the same figures as in the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.audio.utterance import Reference, Utterance
from kdcompress.bench.combinations import combine
from kdcompress.bench.run import run_bench
from kdcompress.errors import BenchError, ConfigError
from kdcompress.report.hypotheses import read_hypotheses, rescore, write_hypotheses
from kdcompress.report.record import Report, parse_report, read_report

Say = Callable[[str], npt.NDArray[np.float32]]

# What the manifest claims was said; the model hears the tones, so some of it counts as errors.
SAID = [("ab c", "AB C"), ("cab", "cab b"), ("a", "c"), ("b c", ""), ("c", "C!")]


@pytest.fixture(scope="module")
def report(say: Say, tone_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("said")
    references = []
    for n, (tones, text) in enumerate(SAID):
        samples = say(tones)
        soundfile.write(folder / f"{n}.wav", samples, 16_000)
        references.append(
            Reference(Utterance(f"u{n}", folder / f"{n}.wav", 0.0, len(samples) / 16_000), text)
        )
    return run_bench(combine([tone_bundle]), references, repeats=2, source="said.jsonl")


@pytest.fixture
def hypotheses(report: Report, tmp_path: Path) -> Path:
    write_hypotheses(report, tmp_path / "said.jsonl")
    return tmp_path / "said.jsonl"


@pytest.fixture
def saved(report: Report, tmp_path: Path) -> Path:
    (tmp_path / "report.json").write_text(report.dump())
    return tmp_path / "report.json"


def of_texts(report: Report) -> list[Any]:
    """Everything in a report that follows from texts."""
    data = report.to_json()
    parts = [
        [result[key] for key in ("name", "accuracy", "non_speech", "agreement", "hypotheses", "seconds")]
        for result in data["results"]
    ]
    return [*parts, [one for one in data["differences"] if one["measure"] != "rtf"]]


def test_the_same_numbers_as_in_the_run(report: Report, hypotheses: Path, saved: Path) -> None:
    accuracy = report.results[0].accuracy
    assert accuracy is not None
    assert accuracy.wer.errors == 4  # one left out, one wrong, two in silence
    assert of_texts(rescore(hypotheses)) == of_texts(report)
    assert rescore(saved).dump() == saved.read_text()
    assert read_report(saved) == report
    assert report.differences[-1].measure == "rtf"


def test_another_normaliser_changes_the_scores_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    strict = rescore(saved, "none")
    assert strict.settings.normalizer == "none"
    accuracy = strict.results[0].accuracy
    assert accuracy is not None
    assert accuracy.wer.substitutions == 4
    assert any("letter case alone makes 2 of 7" in note for note in strict.results[0].notes)
    # And back: the note goes with its cause.
    (tmp_path / "strict.json").write_text(strict.dump())
    assert rescore(tmp_path / "strict.json", "basic") == rescore(saved)


def test_lines_have_the_leaderboards_names(report: Report, hypotheses: Path) -> None:
    lines = [json.loads(line) for line in hypotheses.read_text().splitlines()]
    assert len(lines) == 2 * len(SAID)
    first = lines[0]
    assert set(first) == {"audio_filepath", "duration", "time", "text", "pred_text", "model", "id"}
    assert first["audio_filepath"].endswith("0.wav")
    assert (first["text"], first["pred_text"], first["model"]) == ("AB C", "ab c", report.results[0].name)
    assert first["duration"] == report.utterances[0].duration
    assert 0 < first["time"] == report.results[0].seconds["u0"]
    assert not [path for path in hypotheses.parent.iterdir() if path != hypotheses]


def test_a_file_of_the_leaderboard_is_read(tmp_path: Path) -> None:
    path = tmp_path / "their model.jsonl"
    lines = [
        {"audio_filepath": f"sample_{n}", "duration": 2, "time": 0.1, "text": text, "pred_text": "It's two"}
        for n, text in enumerate(["it is 2", "its two"])
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    report = rescore(path, "english")
    (result,) = report.results
    assert result.name == "their model"
    assert result.accuracy is not None
    assert result.accuracy.wer.rate == 2 / 5
    assert (report.settings.audio_seconds, report.machine) == (4, None)
    assert parse_report(report.to_json(), "it") == report


def test_the_others_are_compared_with_whom_one_names(hypotheses: Path, report: Report) -> None:
    first, second = (result.name for result in report.results)
    again = rescore(hypotheses, reference=second)
    assert [one.candidate for one in again.differences] == [first, first]
    assert again.results[1].agreement is None
    with pytest.raises(BenchError, match=f"no candidate 'x' to compare with; there are {first}"):
        rescore(hypotheses, reference="x")
    with pytest.raises(ConfigError, match="no text normaliser"):
        rescore(hypotheses, "french")


def test_times_stay_relative_to_their_reference(report: Report, saved: Path) -> None:
    with pytest.raises(BenchError, match="rescore the run's --hypotheses instead"):
        rescore(saved, reference=report.results[1].name)
    rescore(saved, reference=report.results[0].name)


def test_who_failed_stays_failed(report: Report, tmp_path: Path) -> None:
    data = report.to_json()
    data["results"][1].update(failed="u3: ValueError", accuracy=None, timing=None, hypotheses={"u0": "a"})
    (tmp_path / "report.json").write_text(json.dumps(data))
    again = rescore(tmp_path / "report.json")
    assert (again.results[1].failed, again.results[1].accuracy) == ("u3: ValueError", None)
    write_hypotheses(again, tmp_path / "h.jsonl")
    assert [one.name for one in read_hypotheses(tmp_path / "h.jsonl").results] == [report.results[0].name]


def test_a_report_of_schema_1_is_read(report: Report, tmp_path: Path) -> None:
    data = report.to_json()
    data["schema"] = 1
    del data["differences"]
    for result in data["results"]:
        for key in ("seconds", "non_speech", "agreement"):
            del result[key]
    for utterance in data["utterances"]:
        del utterance["audio"]
    (tmp_path / "report.json").write_text(json.dumps(data, indent=2))
    again = rescore(tmp_path / "report.json")
    assert again.results[0].accuracy == report.results[0].accuracy
    assert [one.measure for one in again.differences] == ["wer", "cer"]
    assert again.to_json()["schema"] == 2


GOOD = {"audio_filepath": "a.wav", "duration": 1.0, "time": 0.1, "text": "a", "pred_text": "a", "model": "x"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["no json"], "h.jsonl:1: not JSON: found 'no json'"),
        (["[1]"], "h.jsonl:1: a line: .*; a line has audio_filepath"),
        ([""], "h.jsonl has no lines"),
        ([{**GOOD, "pred_text": None}], "h.jsonl:1: pred_text: .*string"),
        ([{**GOOD, "text": 5}], "h.jsonl:1: text: .*string"),
        ([{**GOOD, "duration": "1"}], r"h.jsonl:1: duration: .*number.*; a line has .*duration \[s\]"),
        ([{**GOOD, "time": -1}], "h.jsonl:1: time: .*greater than or equal to 0"),
        ([GOOD, GOOD], "h.jsonl:2: 'a.wav' comes twice for 'x'"),
        ([GOOD, {**GOOD, "model": "y", "text": "b"}], "h.jsonl:2: 'a.wav' has another text here"),
        (
            [GOOD, {**GOOD, "id": "b"}, {**GOOD, "model": "y"}],
            "h.jsonl: 'y' lacks 1 of 2 utterances, 'b' first",
        ),
    ],
)
def test_what_is_no_file_of_hypotheses_is_refused(lines: list[Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    with pytest.raises(BenchError, match=message):
        rescore(path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for read in (rescore, read_report, read_hypotheses):
        with pytest.raises(BenchError, match=r"cannot read .*none: no such file"):
            read(tmp_path / "none")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="is not UTF-8 text"):
        rescore(tmp_path / "binary.jsonl")
    (tmp_path / "broken.json").write_text("{\n")
    with pytest.raises(BenchError, match="is not JSON; expected a report written by bench --json"):
        rescore(tmp_path / "broken.json")
    with pytest.raises(BenchError, match=r"cannot read .*: is a directory"):
        rescore(tmp_path)
