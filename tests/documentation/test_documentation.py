"""Every command and every program of the documents runs, on stand-ins, or says why it does not.

What a document names (`runs/mine`, `recordings/`, `facebook/wav2vec2-base-960h`) is put under that very name
into an empty folder, a small thing of that kind; see STAND_INS. Commands that train are given a few steps and
a tiny student; see ADDED. Nothing else is changed but what SUBSTITUTED says. Lines that are not run are those
of NOT_RUN, and blocks under a comment `<!-- not run: why -->` in the document.
"""

import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import glob
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kdcompress.cli.start import main
from kdcompress.config.student import STUDENTS
from kdcompress.config.teacher import TEACHERS
from kdcompress.graph import write
from kdcompress.graph.trace import trace

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "export" / "README.md",
        ROOT / "recipes" / "README.md",
        *ROOT.glob("recipes/corpora/*.md"),
    )
)

# The first pattern that a name matches says what is put there.
STAND_INS = {
    "facebook/*": "Hugging Face model",
    "runs/*": "run",
    "RUN": "run",
    "recipes/demo/teacher": "run",
    "bundles/*waveform": "waveform bundle",
    "bundles/web": "waveform bundle",
    "bundles/live": "streaming bundle",
    "bundles/*": "bundle",
    "BUNDLE": "bundle",
    "cache/*": "cache",
    "recordings": "recordings",
    "*/audio/train": "recordings",
    "*.jsonl": "manifest",
    "*.arpa": "language model",
    "*.wav": "recording",
    "*.mp3": "recording",
    "*.opus": "recording",
}
WRITTEN = {
    "runs/own",
    "runs/made",
    "runs/taught",
    "bundles/own",
    "bundles/made",
}  # by the programs of docs/extending.md, so that nothing may be there before

QUICK = (  # the student is of the shape of the stand-ins, so that training.start_from fits
    "training.steps=2", "training.validate_every=2", "data.batch_seconds=20", "training.peak_lr=1e-5",
    "student={width: 32, layers: 1, heads: 2, feed_forward: 1.5, kernel: 5, stem_channels: 4}",
)  # fmt: skip
ADDED = {
    "distill": tuple(part for item in QUICK for part in ("--set", item)),
    "bench": ("--repeats", "1"),
}
# Long enough to forget the token that prints nothing here, and something in other runtimes.
OWN_STUDENT = ("--set", "training.steps=100", "--set", "training.validate_every=100",
               "--set", "data.batch_seconds=20", "--set", "training.peak_lr=1e-2")  # fmt: skip
SUBSTITUTED = {
    "--hotword kilohertz": "--hotword cab",  # the stand-in's letters are a, b and c
    '["training.steps=200"]': '["training.steps=2"]',
    "--limit 40": "--limit 4",
}
NOT_RUN = {
    "make demo": "installs an environment of its own and takes minutes",
    "make test": "runs these tests",
    "pip install ": "installs",
    "docker ": "needs a container engine",
}
if find_spec("flashlight") is None:
    NOT_RUN["kdcompress transcribe bundles/mine call.wav --lm"] = "the extra [lm] is not installed here"


@dataclass(frozen=True)
class Step:
    """A line of shell, a program, or a file to write.

    Attributes:
        kind: `sh`, `python`, or the name of a file.
        why_not: why it is not run; None where it is.
    """

    document: str
    kind: str
    text: str
    why_not: str | None = None

    @property
    def runs(self) -> bool:
        return self.kind in {"sh", "python"} and self.why_not is None


def steps(document: str) -> Iterator[Step]:
    """Yield what is to be done for a document, in its order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    # An optional comment, then a fenced block.
    block = r"^(?:<!--\s*(not run|file):\s*([^>]*?)\s*-->\n)?```(\w*)\n(.*?)^```$"
    for mark, about, language, content in re.findall(block, text, re.MULTILINE | re.DOTALL):
        why_not = " ".join(about.split()) if mark == "not run" else None
        if mark == "file":
            yield Step(document, about, content)
        elif language == "python":
            yield Step(document, "python", content, why_not)
        elif language == "sh":
            for line in content.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    shell = " ".join(w if w in {">"} or "*" in w else shlex.quote(w) for w in words)
                    known = next((why for start, why in NOT_RUN.items() if line.startswith(start)), None)
                    yield Step(document, "sh", shell, why_not or known)


class Workplace:
    """An empty folder in which a document's commands find what they name."""

    def __init__(self, put: Callable[[str, Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
        self.put, self.monkeypatch = put, monkeypatch
        self.names: dict[str, Any] = {"__name__": "document"}

    def do(self, step: Step) -> None:
        text = step.text
        for old, new in SUBSTITUTED.items():
            text = text.replace(old, new)
        if step.kind == "sh":
            self.shell(shlex.split(text))
        elif step.kind == "python":
            self.python(text)
        else:
            Path(step.kind).write_text(text, encoding="utf-8")
            if step.kind == "pyproject.toml":
                self.install(text)
            elif not step.kind.endswith(".py"):
                self.provide(re.findall(r"[\w./-]+", text))

    def install(self, project: str) -> None:
        """Make the entry points of a project known, as `pip install -e .` does."""
        information = Path("installed-1.dist-info").absolute()
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1\n")
        tables = re.findall(r'^\[project\.entry-points\."([\w.]+)"\]\n(.*?)(?=^\[|\Z)', project, re.M | re.S)
        points = "".join(f"[{group}]\n{lines}" for group, lines in tables).replace('"', "")
        (information / "entry_points.txt").write_text(points)
        self.monkeypatch.syspath_prepend(str(information.parent))
        for kinds in (STUDENTS, TEACHERS):
            self.monkeypatch.delitem(kinds.__dict__, "_known", raising=False)

    def provide(self, words: list[str]) -> None:
        """Put a stand-in wherever a word names something that is not there."""
        for word in words:
            name = word.removeprefix("./").rstrip("/")
            if name in WRITTEN or Path(name).exists() or Path(name).is_absolute():
                continue
            kind = next((kind for pattern, kind in STAND_INS.items() if fnmatch(name, pattern)), None)
            if kind is not None:
                self.put(kind, Path(name.replace("*", "0")))

    def shell(self, words: list[str]) -> None:
        target = Path(words.pop()) if ">" in words else None
        words = [word for word in words if word != ">"]
        outputs = {words[i + 1] for i, w in enumerate(words[:-1]) if w in {"--out", "--json", "--plot"}}
        if "--resume" in words:
            self.provide(sorted(outputs))
        else:
            for place in outputs:  # an earlier block may have written it
                shutil.rmtree(place, ignore_errors=True)
        self.provide([w for word in words if word not in outputs for w in (word, word.partition("=")[2])])
        words = [
            found for word in words for found in (sorted(glob(word)) or [word] if "*" in word else [word])
        ]
        program, *arguments = words
        printed = io.StringIO()
        if program == "kdcompress":
            if "--resume" not in words:
                own = any(word.startswith("student.kind=") for word in words)
                arguments += OWN_STUDENT if own else ADDED.get(arguments[0], ())
            self.monkeypatch.setattr(sys, "argv", ["kdcompress", *arguments])
            code: object = 0
            with redirect_stdout(printed):
                try:
                    main()
                except SystemExit as end:
                    code = end.code
            assert not code, shlex.join(words)
        elif program == "python":
            script = ROOT / arguments[0]
            if script.parent.name == "consumers":  # foreign runtimes end the process, and warn as they like
                printed.write(self.process([str(script), *arguments[1:]]))
            else:
                self.monkeypatch.setattr(sys, "argv", [str(script), *arguments[1:]])
                with redirect_stdout(printed):
                    runpy.run_path(str(script), run_name="__main__")
        else:
            pytest.fail(f"{shlex.join(words)}: run it, or say in NOT_RUN why not")
        if target is not None:
            target.write_text(printed.getvalue(), encoding="utf-8")
            assert printed.getvalue(), f"{shlex.join(words)} printed nothing"

    def python(self, program: str) -> None:
        self.provide(re.findall(r'"([\w./-]+)"', program))
        if "import kdcompress" in program or "from kdcompress" in program or len(self.names) > 2:
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile(program, "document", "exec"), self.names)
            output = printed.getvalue()
        else:
            output = self.process(["-c", program])
        assert output.strip() or "print(" not in program, f"nothing printed by:\n{program}"

    def process(self, arguments: list[str]) -> str:
        done = subprocess.run([sys.executable, *arguments], text=True, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
        return done.stdout


@pytest.fixture(scope="module")
def traced() -> Callable[..., Any]:
    """Return `trace` with a memory: stand-ins of runs are copies of one, and tracing takes seconds."""
    import onnx

    memory: dict[tuple[Any, ...], bytes] = {}

    def remembered(view: Any, metadata: Any, opset: int) -> onnx.ModelProto:
        key = (view.layout.name, opset, metadata["comment"])  # which names the student's fingerprint
        if key not in memory:
            memory[key] = trace(view, metadata, opset).SerializeToString()
        graph = onnx.load_from_string(memory[key])
        onnx.helper.set_model_props(graph, dict(metadata))
        return graph

    return remembered


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if any(step.runs for step in steps(d))])
@pytest.mark.slow
def test_what_a_document_says_runs(
    document: str,
    stand_ins: Callable[[str, Path], None],
    traced: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write, "trace", traced)
    before = dict(os.environ)
    place = Workplace(stand_ins, monkeypatch)
    try:
        for step in steps(document):
            if step.why_not is None:
                place.do(step)
    finally:
        for name in set(os.environ) - set(before):
            monkeypatch.delenv(name)
        for name, value in before.items():
            monkeypatch.setenv(name, value)


def test_what_is_not_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    found = [step for document in DOCUMENTS for step in steps(document) if step.kind in {"sh", "python"}]
    marked = [step for step in found if not step.runs]
    assert all(len(step.why_not or "") > 5 for step in marked)
    texts = "\n".join(step.text for step in found)
    assert not [old for old in SUBSTITUTED if old not in texts], "of no use any more"
    with capsys.disabled():
        print(f"\ndocumentation: {len(found) - len(marked)} executed, {len(marked)} marked")  # noqa: T201  # told by pytest -s


def test_every_fence_is_one_that_is_read() -> None:
    """A block in a language that nobody runs, such as `bash`, would never be noticed."""
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        opened = re.findall(r"^```(\w*)$", text, re.MULTILINE)[::2]
        assert not set(opened) & {"bash", "shell", "console", "zsh", "py", "pycon", "python3"}, document
        fenced = sum(language in {"sh", "python"} for language in opened)
        parsed = re.findall(r"^```(?:sh|python)\n.*?^```$", text, re.MULTILINE | re.DOTALL)
        assert fenced == len(parsed), document
