"""A report of schema 2 with one of everything, and a browser to look at its page with."""

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from kdcompress.report.accuracy import score
from kdcompress.text.normalize import normalize

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"


def scored(said: dict[str, str], heard: dict[str, str]) -> dict[str, Any]:
    found = score([normalize(said[id_]) for id_ in said], [normalize(heard[id_]) for id_ in said])
    return found.model_dump()


def around(value: float, by: float = 0.1) -> dict[str, float]:
    return {"median": value, "low": value * (1 - by), "high": value * (1 + by), "repeats": 5}


def timing(rtf: float) -> dict[str, Any]:
    buckets = [(0, 2, 0.7), (2, 5, 1.6), (5, 10, 3.0), (10, None, 7.5)]
    cells = [(t, b) for t in (1, 2) for b in (1, 8, 32)]
    return {
        "load_seconds": 0.31,
        "rtf": around(rtf),
        "rtfx": around(1 / rtf),
        "model_rtf": around(0.7 * rtf),
        "features_rtf": around(0.2 * rtf),
        "decoding_rtf": around(0.1 * rtf),
        "latency": {"p50": 3 * rtf, "p90": 6 * rtf, "p99": 9 * rtf},
        "buckets": [
            {
                "from": low,
                "to": high,
                "utterances": 9,
                "p50": at * rtf,
                "p90": at * rtf,
                "p99": 1.5 * at * rtf,
            }
            for low, high, at in buckets
        ],
        "first_result_seconds": 0.05,
        "cpu_seconds_per_hour": 3600 * rtf,
        "cores_busy": 1.0,
        "throughput": [{"threads": t, "batch": b, "rtfx": around(t**0.7 * b**0.4 / rtf)} for t, b in cells],
        "bimodal": None,
        "speed": around(0.004 / rtf),
        "model_speed": around(0.004 / rtf),
    }


def result(name: str, size: int, rtf: float, heard: dict[str, str], **more: Any) -> dict[str, Any]:
    facts = {"runtime": "onnxruntime 1.32.0", "runtime_name": "kdcompress", "provider": "cpu", "threads": 1,
             "precision": "int8" if "int8" in name else "fp32", "nodes": {"CPUExecutionProvider": 380},
             "options": {"intra_op_num_threads": "1"}, "features_in_model": False, "notes": []}  # fmt: skip
    return {
        "name": name,
        "bytes": size,
        "parameters": 1_800_000,
        "facts": facts,
        "failed": None,
        "timing": timing(rtf),
        "memory": {"peak_rss_bytes": 180_000_000, "model_rss_bytes": 40_000_000, "gpu_bytes": None},
        "hypotheses": heard,
        "non_speech": {"utterances": 2, "seconds": 30, "characters": 9, "words": 2, "per_minute": 4.0},
        **more,
    }


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    """Return a report of schema 2: three measured candidates, one that failed, texts that nobody trusts."""
    said = {"u1": "rub out g m e f three nine", "u2": "erase c q q f seven", "u3": "go", "u4": "yes it is"}
    right = dict(said)
    some = {**said, "u1": "rub out g n e three nine nine", "u2": f"erase c q {HOSTILE}", "u4": "yes it is"}
    more = {**some, "u3": "", "u4": "\u202eyes\x00 \ud800it's"}
    lines = []
    for number, (id_, words) in enumerate(said.items()):
        soundfile.write(tmp_path / f"{id_}.wav", [0.1, -0.1] * 4000 * (number + 1), 16_000)
        lines.append(json.dumps({"audio_filepath": f"{id_}.wav", "text": words, "id": id_}))
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    names = ("teacher", "student fp32", "student int8-dynamic")
    sizes, rtfs, texts = (380_000_000, 7_220_129, 1_943_014), (0.21, 0.004, 0.0021), (right, some, more)
    results = [
        result(name, size, rtf, heard, accuracy=scored(said, heard))
        for name, size, rtf, heard in zip(names, sizes, rtfs, texts, strict=True)
    ]
    results[0]["facts"] |= {"runtime": "torch 2.13.0", "runtime_name": "torch"}
    broken = {"name": f"broken {HOSTILE}", "failed": "u3: ValueError: not <finite>", "hypotheses": {}}
    pair = {"candidate": names[2], "baseline": names[1]}
    return {
        "schema": 2,
        "kind": "kdcompress-bench",
        "created": "2026-01-01T00:00:00+00:00",
        "machine": {
            "cpu": "Some CPU",
            "cores": 4,
            "usable_cores": 2,
            "memory_gb": 16.0,
            "flags": ["avx2", "avx512_vnni"],
            "int8_instructions": True,
            "system": "Linux",
            "governor": "performance",
            "gpu": ["Some GPU, 550.1, 24 GiB"],
            "load_average": 0.1,
            "versions": {"python": "3.11.7", "kdcompress": "0.1.0"},
            "environment": {},
        },
        "settings": {
            "source": str(tmp_path / "test.jsonl"),
            "utterances": 4,
            "audio_seconds": 5.0,
            "repeats": 5,
            "block": 10,
            "normalizer": "basic",
            "normalizer_version": 1,
            "reference": "student fp32",
            "seed": 0,
            "affinity": [0],
            "threads": [1, 2],
            "batches": [1, 8, 32],
        },
        "audio_decoding_rtf": 0.0005,
        "utterances": [
            {"id": id_, "duration": 0.5 * (n + 1), "reference": text, "audio": f"{id_}.wav"}
            for n, (id_, text) in enumerate(said.items())
        ],
        "results": [*results, broken],
        "differences": [
            {**pair, "measure": "wer", "value": 0.012, "low": 0.002, "high": 0.021, "p": 0.012},
            {**pair, "measure": "rtf", "value": 0.52, "low": 0.5, "high": 0.55, "p": 0.0004},
        ],
    }


class Browser:
    """Chromium, driven over a pipe by its own protocol: nothing to install beside it."""

    def __init__(self, program: str, profile: Path) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        def numbered() -> None:  # the protocol's pipe is on the file descriptors 3 and 4
            low, high = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(low, 3)
            os.dup2(high, 4)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio"]
        flags += ["--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [program, *flags],
            close_fds=False,
            preexec_fn=numbered,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (theirs_in, theirs_out):
            os.close(end)
        self._in, self._out = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser has gone")
            data += byte
        answer = dict(json.loads(data))
        if "method" in answer:
            self.events.append(answer)
        return answer

    def open(self, page: Path, width: int, theme: str, height: int = 900) -> None:
        """Show a page in a window of a width, as a system with a light or dark theme would."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read()

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path | None = None) -> bytes:
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        data = base64.b64decode(shot["data"])
        if path is not None:
            path.write_bytes(data)
        return data

    def requests(self) -> list[str]:
        """Return every address that the page asked for, blocked or not."""
        sent = [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]
        return [re.sub(r"^(data:[^,]*),.*", r"\1", url, flags=re.DOTALL) for url in sent]

    def complaints(self) -> list[str]:
        return [e["params"]["entry"]["text"] for e in self.events if e["method"] == "Log.entryAdded"] + [
            str(e["params"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"
        ]

    def close(self) -> None:
        with contextlib.suppress(RuntimeError, OSError):
            self._session = ""
            self.call("Browser.close")
        self._process.wait(timeout=20)
        self._in.close()
        self._out.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    playwrights = sorted(Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome"))
    found = [program for name in names if (program := shutil.which(name))]
    program = next(iter([*found, *map(str, playwrights)]), None)
    if program is None or sys.platform == "win32":
        pytest.skip("no Chromium here: install chromium to look at the page")
    opened = Browser(program, tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()
