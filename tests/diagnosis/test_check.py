import getpass
import platform
from pathlib import Path

import pytest

from kdcompress.diagnosis.check import Check, anonymous, ask_python


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("cannot open /home/ada/venv/lib/libx.so.1: no such file", "cannot open …/libx.so.1: no such file"),
        (r"C:\Users\ada\venv\x.dll is missing", "…/x.dll is missing"),
        ("~/.cache/huggingface/hub", "…/hub"),
        ("(/root/x)", "(…/x)"),
        ("1/2 of 3.5 GB, numpy>=1.26/2", "1/2 of 3.5 GB, numpy>=1.26/2"),
        ("VNNI, AMX; 2 cores", "VNNI, AMX; 2 cores"),
    ],
)
def test_folders_of_paths_are_left_out(text: str, public: str) -> None:
    assert anonymous(text) == public


def test_user_and_host_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "ada-laptop.example.org")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    check = Check("ada", "warn", "ada on ada-laptop, by ada-laptop.example.org", "adapt it")
    assert set(check.to_json()) == {"topic", "state", "found", "advice"}
    assert check.to_json()["topic"] == "…"
    assert "ada" not in check.to_json()["found"]
    assert check.to_json()["advice"] == "adapt it"


def test_a_user_id_without_a_name_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/grace"))
    assert anonymous("grace was here") == "… was here"


def test_a_program_is_asked_in_a_process_of_its_own() -> None:
    assert ask_python("print('noise'); print('{\"a\": 1}')") == {"a": 1}
    assert ask_python("import no_such_library") == {
        "failed": "ModuleNotFoundError: No module named 'no_such_library'"
    }
    assert "ended with exit code" in ask_python("import os; os._exit(9)")["failed"]
    assert "ended with exit code 0" in ask_python("print('[1]')")["failed"]
