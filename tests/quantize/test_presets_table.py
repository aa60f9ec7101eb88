"""export/presets.py measures what docs/tables.py shows."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from kdcompress.resources import resource_dir

SCRIPT = resource_dir("export") / "presets.py"


TABLES = resource_dir("export").parent / "docs" / "tables.py"


@pytest.fixture(scope="session")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", TABLES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_bundle_is_measured_into_json_and_a_table(
    tables: ModuleType, tiny_bundle: Path, tmp_path: Path, say: Callable[[str], npt.NDArray[np.float32]]
) -> None:
    lines = []
    for index, text in enumerate(("ab c", "c ba", "a cb b")):
        soundfile.write(tmp_path / f"{index}.wav", say(text), 16_000)
        lines.append(json.dumps({"audio_filepath": f"{index}.wav", "text": text}))
    (tmp_path / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "results" / "tiny.json"
    command = [str(tiny_bundle), "--manifest", str(tmp_path / "test.jsonl"), "--out", str(out)]
    command += ["--also", f"again={tiny_bundle}/int8-dynamic", "--silence", str(tmp_path / "test.jsonl")]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *command, "--repeats", "3"], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    fp32, int8 = (result["rows"][name] for name in ("fp32", "int8-dynamic"))
    assert fp32["time"] is None
    assert fp32["frames"]["kl"] == fp32["words"]["disagreement"] == 0
    assert fp32["against_fp32"] is None
    assert int8["time"]["low"] <= int8["time"]["median"] <= int8["time"]["high"]
    assert 0 < int8["frames"]["kl"] < 0.05
    assert int8["words"]["words"] == fp32["words"]["words"] > 3
    assert int8["against_fp32"]["low"] <= int8["against_fp32"]["value"] <= int8["against_fp32"]["high"]
    again = result["rows"]["again"]
    assert [again[key] for key in ("bytes", "frames", "words", "noisy_wer", "silent_characters")] == [
        int8[key] for key in ("bytes", "frames", "words", "noisy_wer", "silent_characters")
    ]
    assert again["silent_characters"] == len("ab cc baa cb b")
    assert int8["share"] == int8["bytes"] / fp32["bytes"]
    columns = {line.count("|") for line in tables.preset_table(result).splitlines() if line.startswith("|")}
    assert columns == {len(tables.PRESET) + 1}
    assert str(tmp_path) not in out.read_text(encoding="utf-8")


def test_a_run_needs_audio_to_search_on(tiny_checkpoint: Path, tmp_path: Path) -> None:
    command = [str(tiny_checkpoint), "--manifest", "test.jsonl", "--out", str(tmp_path / "a.json")]
    done = subprocess.run([sys.executable, str(SCRIPT), *command], text=True, capture_output=True)
    assert done.returncode == 1
    assert "name --audio" in done.stderr
