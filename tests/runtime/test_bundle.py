import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdcompress.errors import BundleError
from kdcompress.files import writing_folder
from kdcompress.runtime.bundle import Bundle, open_bundle


@pytest.fixture
def folder(tone_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tone_bundle, tmp_path / "bundle"))


def rewrite(folder: Path, **changes: Any) -> None:
    file = folder / "bundle.json"
    data = json.loads(file.read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = data
        for key in parents:
            target = target[key]
        if value is ...:
            del target[last]
        else:
            target[last] = value
    file.write_text(json.dumps(data))


def test_what_is_written_is_read_back(tone_bundle: Path) -> None:
    bundle = open_bundle(tone_bundle, verify=True)
    text = json.dumps(
        replace(bundle, provenance={"run": "x", "parameters": 7}, parity={"fp32": {"max": 0.1}}).to_json()
    )
    again = Bundle.from_json(json.loads(text), tone_bundle)
    assert replace(again, provenance=bundle.provenance, parity=bundle.parity) == bundle
    assert (again.parameters, again.parity) == (7, {"fp32": {"max": 0.1}})


def test_int8_is_the_default_and_fp32_where_there_is_none(tone_bundle: Path) -> None:
    bundle = open_bundle(tone_bundle)
    assert bundle.variant().name == "int8-dynamic"
    assert bundle.variant("fp32").name == "fp32"
    assert replace(bundle, variants={"fp32": bundle.variants["fp32"]}).variant().name == "fp32"
    four = replace(bundle.variants["fp32"], name="int4")
    assert replace(bundle, variants={"fp32": bundle.variants["fp32"], "int4": four}).variant().name == "int4"
    with pytest.raises(BundleError, match="no variant 'int4'; it has fp32, int8-dynamic"):
        bundle.variant("int4")


def test_a_bundle_may_be_made_of_links_as_hub_downloads_are(tone_bundle: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "f00", tmp_path / "models--x" / "blobs"
    shutil.copytree(tone_bundle, snapshot)
    blobs.mkdir()
    for file in list(snapshot.iterdir()):
        blob = file.rename(blobs / file.name.replace(".", "_"))
        file.symlink_to(Path("..", "..", "blobs", blob.name))
    assert open_bundle(snapshot, verify=True).variant("fp32").file == "model.onnx"


def test_a_link_may_lead_to_a_file_beside_it(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "graph")
    (folder / "model.onnx").symlink_to("graph")
    open_bundle(folder, verify=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "has schema 2, this version reads 1"),
        ({"kind": "other"}, 'does not say "kind"'),
        ({"variants": {}}, "lists no variants"),
        ({"variants": ...}, "malformed: KeyError"),
        ({"frontend": None}, "malformed: TypeError"),
        ({"variants__fp32__bytes": "many"}, "malformed: ValueError"),
        ({"frame_shift": 0}, "frame_shift 0.0; expected seconds above 0"),
        ({"vocabulary__blank": 99}, "malformed: blank 99"),
        ({"variants__fp32__bytes": 3}, "where bundle.json says 3: it was altered or cut short"),
        ({"variants__fp32__file": "gone.onnx"}, "gone.onnx is missing though bundle.json lists it"),
        ({"variants__fp32__file": "../model.onnx"}, "expected a plain file name"),
        ({"variants__fp32__file": "/etc/passwd"}, "expected a plain file name"),
        ({"variants__fp32__file": "..\\model.onnx"}, "expected a plain file name"),
        ({"variants__fp32__file": ".."}, "expected a plain file name"),
    ],
)
def test_a_bundle_that_is_not_right_is_refused_in_one_line(folder: Path, changes: Any, message: str) -> None:
    # Where the path leads must not matter: the named file exists.
    shutil.copy(folder / "model.onnx", folder.parent / "model.onnx")
    rewrite(folder, **changes)
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_altered_graph_of_the_same_size_is_found_on_request(folder: Path) -> None:
    graph = bytearray((folder / "model.onnx").read_bytes())
    graph[-1] ^= 1
    (folder / "model.onnx").write_bytes(graph)
    open_bundle(folder)
    with pytest.raises(BundleError, match="sha256"):
        open_bundle(folder, verify=True)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such directory"):
        open_bundle(tmp_path / "none")
    with pytest.raises(BundleError, match=r"it has no bundle\.json"):
        open_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read as JSON"):
        open_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("[]")
    with pytest.raises(BundleError, match='does not say "kind"'):
        open_bundle(tmp_path)


def test_files_beside_the_graph_are_what_is_listed(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (folder / "README.md").write_text("mine")  # people may
    listed = open_bundle(folder).files
    assert {"tokens.txt", "vocab.txt", "config.json", "selftest.json", "selftest.wav"} == set(listed)
    (folder / "vocab.txt").unlink()  # for another runtime: what is not needed may be left out
    open_bundle(folder)
    text = (folder / "tokens.txt").read_text("utf-8")
    (folder / "tokens.txt").write_text(text.replace("a 1", "d 1"), "utf-8")
    with pytest.raises(BundleError, match=r"tokens.txt is not what bundle.json lists: it was altered"):
        open_bundle(folder)


def test_a_bundle_is_opened_while_others_take_its_place(
    tiny_bundle: Path, tone_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    stop = threading.Event()

    def replace_it() -> None:
        while not stop.is_set():
            for source in (tiny_bundle, tone_bundle):
                with writing_folder(out) as folder:
                    shutil.copytree(source, folder, dirs_exist_ok=True)

    with writing_folder(out) as folder:
        shutil.copytree(tiny_bundle, folder, dirs_exist_ok=True)
    writer = threading.Thread(target=replace_it)
    writer.start()
    try:
        seen = {open_bundle(out, verify=True).provenance.get("student") for _ in range(200)}
    finally:
        stop.set()
        writer.join()
    assert len(seen) == 2
