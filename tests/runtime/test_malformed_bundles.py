"""Whatever a bundle says or holds, it is opened or refused by name, and nothing outside it is read."""

import copy
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from kdcompress.digests import file_sha256
from kdcompress.errors import BundleError
from kdcompress.runtime.bundle import open_bundle
from kdcompress.runtime.graph_file import check_graph
from kdcompress.runtime.recognizer import Recognizer

_watched: list[list[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _watched[-1].append(os.path.realpath(os.fsdecode(arguments[0])))


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(_audit)  # stays: there is no way to take one out, and it does nothing when unwatched


@contextmanager
def reads_only(folder: Path) -> Iterator[None]:
    """Fail if Python opens a file outside the folder (its own modules and /proc aside)."""
    _watched.append([])
    try:
        yield
    finally:
        opened = _watched.pop()
        inside = str(folder.resolve()) + os.sep
        system = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "/proc", "/sys", os.devnull)
        assert not [p for p in opened if not p.startswith((inside, *system))]


@pytest.fixture
def folder(tone_bundle: Path, tmp_path: Path) -> Path:
    # A secret of the graph's size beside the bundle: the path must be what gives it away.
    shutil.copy(tone_bundle / "model.onnx", tmp_path / "secret.onnx")
    return Path(shutil.copytree(tone_bundle, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((folder / "bundle.json").read_text())
    change(data)
    (folder / "bundle.json").write_text(json.dumps(data))


def replace_graph(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the fp32 graph, and let bundle.json know as an attacker would."""
    file = folder / "model.onnx"
    model = onnx.load(file)
    change(model)
    file.write_bytes(model.SerializeToString())
    sign(folder)


def sign(folder: Path) -> None:
    file = folder / "model.onnx"
    new = {"sha256": file_sha256(file), "bytes": file.stat().st_size}
    edit(folder, lambda data: data["variants"]["fp32"].update(new))


def point_outside(tensor: onnx.TensorProto, location: str = "../secret.onnx") -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    tensor.external_data.add(key="location", value=location)


def initializer(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == "weights")


def external_initializer(location: str) -> Callable[[Path], None]:
    return lambda f: replace_graph(f, lambda m: point_outside(initializer(m), location))


def external_constant(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        value = numpy_helper.from_array(np.zeros(4, np.float32), "value")
        point_outside(value)
        model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=value))

    replace_graph(folder, change)


def external_in_a_branch(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        value = numpy_helper.from_array(np.zeros(4, np.float32), "inner")
        point_outside(value)
        branch = helper.make_graph(
            [], "branch", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])], [value]
        )
        condition = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
        chosen = helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch)
        model.graph.node.insert(0, condition)
        model.graph.node.insert(1, chosen)

    replace_graph(folder, change)


def external_in_a_function(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        value = numpy_helper.from_array(np.zeros(4, np.float32), "value")
        point_outside(value)
        node = helper.make_node("Constant", [], ["y"], value=value)
        opsets = [helper.make_opsetid("", 20)]
        model.functions.append(helper.make_function("local", "f", [], ["y"], [node], opsets))

    replace_graph(folder, change)


def smaller_vocabulary(folder: Path) -> None:
    edit(folder, lambda data: data["vocabulary"]["tokens"].pop())


def truncated(folder: Path, share: float = 0.5) -> None:
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    sign(folder)


def altered(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)


def renamed(name: str) -> Callable[[Path], None]:
    return lambda f: edit(f, lambda data: data["variants"]["fp32"].update(file=name))


def linked(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        target = folder.parent / "secret"
        (folder / name).rename(target)
        (folder / name).symlink_to(target)

    return change


def text(content: str) -> Callable[[Path], None]:
    return lambda f: (f / "bundle.json").write_text(content) and None


def emptied(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")
    sign(folder)


def no_graph_in_it(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x08\x0a")  # a model that says its IR version and nothing else
    sign(folder)


CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing file": (lambda f: (f / "model.onnx").unlink(), "is missing though"),
    "folder for a file": (
        lambda f: ((f / "model.onnx").unlink(), (f / "model.onnx").mkdir()),
        "is missing though",
    ),
    "pipe for a file": (
        lambda f: ((f / "model.onnx").unlink(), os.mkfifo(f / "model.onnx")),
        "is missing though",
    ),
    "no bundle.json": (lambda f: (f / "bundle.json").unlink(), "has no bundle.json"),
    "wrong checksum": (altered, "sha256"),
    "wrong size": (lambda f: os.truncate(f / "model.onnx", 99), "altered or cut short"),
    "wrong vocabulary size": (smaller_vocabulary, "answers with 5 tokens where the vocabulary has 4"),
    "truncated graph": (truncated, "no whole ONNX graph"),
    "graph cut in its first bytes": (lambda f: truncated(f, 0.01), "no whole ONNX graph"),
    "empty graph": (emptied, "no whole ONNX graph"),
    "model without a graph": (no_graph_in_it, "it holds none"),
    "unknown schema": (
        lambda f: edit(f, lambda d: d.update(schema=99)),
        "has schema 99, this version reads 1",
    ),
    "schema of another kind": (lambda f: edit(f, lambda d: d.update(schema="1")), "has schema '1'"),
    "file above": (renamed("../secret.onnx"), "expected a plain file name"),
    "absolute file": (renamed("/etc/hostname"), "expected a plain file name"),
    "file of a drive": (renamed("C:model.onnx"), "expected a plain file name"),
    "file with a line break": (renamed("model\n.onnx"), "expected a plain file name"),
    "file with a NUL": (renamed("model.onnx\0"), "expected a plain file name"),
    "very long file name": (renamed("m" * 5000), "expected a plain file name"),
    "deep nesting": (text('{"a":' * 100_000), "nested too deep"),
    "deep lists": (text("[" * 1_000_000), "nested too deep"),
    "endless number": (text('{"kind": ' + "9" * 10_000 + "}"), "cannot be read as JSON"),
    "bytes that are no text": (
        lambda f: (f / "bundle.json").write_bytes(b'{"\xff": 1}'),
        "cannot be read as",
    ),
    "huge bundle.json": (
        lambda f: os.truncate(f / "bundle.json", 65 << 20),
        "it is no bundle's",
    ),
    "graph is a link out": (linked("model.onnx"), "is a link to"),
    "bundle.json is a link out": (linked("bundle.json"), "is a link to"),
    "weights above": (external_initializer("../secret.onnx"), "keeps weights in other files"),
    "weights at an absolute path": (external_initializer("/etc/hostname"), "keeps weights in other files"),
    "weights beside it": (external_initializer("model.int8.onnx"), "keeps weights in other files"),
    "a constant's value above": (external_constant, "keeps weights in other files"),
    "a branch's weights above": (external_in_a_branch, "keeps weights in other files"),
    "a function's constant above": (external_in_a_function, "keeps weights in other files"),
    "infinite factor": (
        lambda f: (f / "bundle.json").write_text(
            (f / "bundle.json").read_text().replace('"subsampling_factor": 4', '"subsampling_factor": 1e999')
        ),
        "malformed: OverflowError",
    ),
    "endless frames": (
        lambda f: edit(f, lambda d: d.update(frame_shift=float("inf"))),
        "has frame_shift inf",
    ),
    "frames of no length": (
        lambda f: edit(f, lambda d: d.update(frame_shift=float("nan"))),
        "has frame_shift",
    ),
    "factor 0": (lambda f: edit(f, lambda d: d.update(subsampling_factor=0)), "has subsampling_factor 0"),
    "half a surrogate": (
        lambda f: edit(f, lambda d: d["vocabulary"]["tokens"].__setitem__(1, "\ud800")),
        "which is no text",
    ),
    "boundary that is a number": (
        lambda f: edit(f, lambda d: d["vocabulary"].update(word_boundary=5)),
        "word_boundary is 5",
    ),
    "boundary that is empty": (
        lambda f: edit(f, lambda d: d["vocabulary"].update(word_boundary="")),
        "word_boundary is ''",
    ),
    "endless blank": (
        lambda f: edit(f, lambda d: d["vocabulary"].update(blank=float("inf"))),
        "not a vocabulary: OverflowError",
    ),
    "variant with a line break": (
        lambda f: edit(f, lambda d: d["variants"].update({"x\ny": d["variants"]["fp32"]})),
        "names the variant",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_malformed_bundle_is_refused_by_name(
    folder: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, message = CASES[case]
    spoil(folder)
    if "weights" in case or "constant" in case:
        # Not even handed to the runtime, which reads files by itself.
        monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    with reads_only(folder), pytest.raises(BundleError) as caught:
        Recognizer(folder, "fp32", threads=1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_watch_sees_a_file_outside(folder: Path) -> None:
    with pytest.raises(AssertionError), reads_only(folder):
        (folder.parent / "secret.onnx").read_bytes()
    with reads_only(folder):
        Recognizer(folder, "fp32", threads=1)


def test_graphs_within_graphs_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    def wrapped(field: int, inside: bytes) -> bytes:
        size, length = b"", len(inside)
        while True:
            size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
            length >>= 7
            if not length:
                return bytes([field << 3 | 2]) + size + inside

    data = b""
    for _ in range(2000):
        data = wrapped(1, wrapped(5, wrapped(6, data)))  # node, attribute, graph
    (tmp_path / "deep.onnx").write_bytes(wrapped(7, data))
    with pytest.raises(BundleError, match="nested too deep"):
        check_graph(tmp_path / "deep.onnx")


@pytest.fixture(scope="module")
def spare(tone_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tone_bundle, tmp_path_factory.mktemp("fuzz") / "bundle"))


def opened_or_refused(folder: Path) -> None:
    with reads_only(folder):
        bundle = None
        reason = "none"
        try:
            bundle = open_bundle(folder)
        except BundleError as error:
            reason = str(error)
        if bundle is None:
            assert reason
            assert "\n" not in reason
            return
        # What was let through can be used, shown and written again.
        f"{bundle!r} {bundle.vocabulary!r} {bundle.parameters}".encode()
        json.dumps(bundle.to_json())
        bundle.vocabulary.text(range(len(bundle.vocabulary))).encode()
        bundle.path(bundle.variant()).stat()


@settings(max_examples=100)
@given(data=st.data())
def test_any_bytes_for_bundle_json(spare: Path, tone_bundle: Path, data: st.DataObject) -> None:
    good = (tone_bundle / "bundle.json").read_bytes()
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        match data.draw(st.sampled_from(["flip", "insert", "delete", "copy"])):
            case "flip":
                content[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=8))
            case "delete":
                del content[at : at + data.draw(st.integers(1, 40))]
            case "copy":
                content[at:at] = content[at : at + data.draw(st.integers(1, 200))]
    (spare / "bundle.json").write_bytes(content)
    opened_or_refused(spare)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf{}")
def test_bytes_that_were_never_a_bundle(spare: Path, content: bytes) -> None:
    (spare / "bundle.json").write_bytes(content)
    opened_or_refused(spare)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "..", "../secret.onnx", "/etc/hostname", "model.onnx", "▁", "\ud800", "x" * 300])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@settings(max_examples=100)
@given(data=st.data())
def test_any_value_anywhere_in_bundle_json(spare: Path, tone_bundle: Path, data: st.DataObject) -> None:
    content = copy.deepcopy(json.loads((tone_bundle / "bundle.json").read_text()))
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, last = data.draw(st.sampled_from(sorted(places(content), key=repr)))
        target = content
        for key in parents:
            target = target[key]
        target[last] = data.draw(anything)
    (spare / "bundle.json").write_text(json.dumps(content))
    opened_or_refused(spare)


@settings(max_examples=60)
@given(data=st.data())
def test_any_bytes_for_a_graph_are_looked_through(
    spare: Path, tone_bundle: Path, data: st.DataObject
) -> None:
    content = bytearray((tone_bundle / "model.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            del content[at : at + data.draw(st.integers(1, 400))]
            content += b"\0"
    (spare / "any.onnx").write_bytes(content)
    reason = ""
    try:
        check_graph(spare / "any.onnx")
    except BundleError as error:
        reason = str(error)
    assert "\n" not in reason
