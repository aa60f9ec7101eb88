import json
import sys
from pathlib import Path

import pytest

from kdcompress.cli.start import main
from kdcompress.diagnosis import report
from kdcompress.diagnosis.check import Check


def doctor(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kdcompress", "doctor", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_what_is_broken_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("disk", "warn", "[red]full[/red]", "empty it"), Check("cpu", "ok", "two cores")]
    monkeypatch.setattr(report, "examine", lambda: iter(checks))
    assert doctor(monkeypatch) == 0
    assert capsys.readouterr().out == (
        "warn disk                  [red]full[/red]\n"
        "                           → empty it\n"
        "ok   cpu                   two cores\n"
    )
    checks.append(Check("torch", "bad", "cannot run"))
    assert doctor(monkeypatch) == 1


@pytest.mark.slow
def test_json_of_this_machine_names_no_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "grace"
    monkeypatch.setenv("HF_HOME", str(home / "hub"))
    monkeypatch.chdir(tmp_path)
    assert doctor(monkeypatch, "--json") == 0
    text = capsys.readouterr().out
    data = json.loads(text)
    assert data["schema"] == 1
    assert {check["state"] for check in data["checks"]} <= {"ok", "warn", "bad"}
    assert len({check["topic"] for check in data["checks"]}) == len(data["checks"]) > 12
    assert "grace" not in text
    assert str(tmp_path) not in text
    assert str(Path(sys.prefix)) not in text
