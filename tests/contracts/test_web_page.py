"""The web page in Chromium without a window: files, a microphone, and everything that can be wrong."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from kdcompress.resources import consumer_path
from kdcompress.runtime.recognizer import Recognizer

PROGRAM = consumer_path("web_transcribe.py")


def program() -> Any:
    """Return the program that drives the page, as a module."""
    spec = importlib.util.spec_from_file_location("web_transcribe", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


web = program()
# Before any bundle is made.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(web.missing()), reason=web.missing())]

Say = Callable[[str], npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def address(waveform_bundle: Path) -> Iterator[str]:
    with web.served(waveform_bundle) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[Any]:
    """Return a browser whose microphone hears `ab` every 1.6 s."""
    spoken = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    soundfile.write(spoken, np.concatenate([say("ab"), np.zeros(9_600)]), 16_000)
    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    browser = web.Browser(web.chromium(), *fakes, f"--use-file-for-fake-audio-capture={spoken}")
    for domain in ("Network", "Log", "Runtime"):
        browser.call(f"{domain}.enable")
    yield browser
    browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    """Return the browser with the page open and its model ready, as a test before may have left it."""
    if not browser.evaluate(f"location.href === {json.dumps(address)}"):
        assert browser.open(address) == ""
    return browser


@pytest.mark.parametrize("wishes", [["--precision", "int8"], ["--one-thread", "--figures"]])
def test_transcripts_are_right(
    waveform_bundle: Path,
    recordings: Path,
    tmp_path: Path,
    wishes: list[str],
    texts: list[str],
    ink: Callable[[Path], float],
) -> None:
    picture = tmp_path / "page.png"
    command = [sys.executable, "-I", PROGRAM, waveform_bundle, *wishes, "--manifest", recordings]
    command += ["--picture", picture]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["text"] for result in results] == texts
    assert 0.002 < ink(picture) < 0.9, "an empty page, or no page"
    if "--one-thread" in wishes:
        assert {result["Backend"] for result in results} == {"wasm, 1 thread"}


def test_the_page_tells_what_it_did_and_how_fast(page: Any, recordings: Path, texts: list[str]) -> None:
    [card] = page.transcribe([recordings.parent / "0.wav"])
    samples = soundfile.info(str(recordings.parent / "0.wav")).frames
    figures = card["figures"]
    assert card["text"] == texts[0]
    assert figures["Audio"] == f"{samples / 16_000:.2f} s"
    assert 0 < float(figures["RTF"]) < 10
    assert figures["Variant"] == "int8-dynamic"  # what kdcompress would take
    assert figures["Backend"].startswith("wasm, ")


def test_the_variant_can_be_chosen(page: Any, recordings: Path, texts: list[str]) -> None:
    choose = """{ const list = document.querySelector("#variant"); list.value = "fp32";
                  list.dispatchEvent(new Event("change")); [...list.options].map(option => option.value) }"""
    assert page.evaluate(choose) == ["fp32", "int8-dynamic"]
    page.wait("!document.querySelector('#choose').disabled", bool)
    [card] = page.transcribe([recordings.parent / "2.wav"])
    assert (card["text"], card["figures"]["Variant"]) == (texts[2], "fp32")


@pytest.mark.parametrize(
    ("name", "rate", "options"),
    [
        ("high.flac", 44_100, {}),
        ("telephone.wav", 8_000, {"subtype": "PCM_16"}),
        ("stereo.wav", 48_000, {"subtype": "PCM_24"}),
        ("speech.ogg", 16_000, {"subtype": "VORBIS"}),
    ],
)
def test_what_the_browser_decodes_is_understood(
    page: Any, waveform_bundle: Path, say: Say, tmp_path: Path, name: str, rate: int, options: dict[str, str]
) -> None:
    # The word boundary, 5 kHz, is too high for telephones.
    samples = soxr.resample(say("abcb" if rate == 8_000 else "a b ab"), 16_000, rate)
    if name.startswith("stereo"):
        samples = np.stack([samples, 0.5 * samples], axis=1)
    soundfile.write(tmp_path / name, samples, rate, **options)
    [card] = page.transcribe([tmp_path / name])
    expected = Recognizer(waveform_bundle, "int8-dynamic", threads=1).transcribe(tmp_path / name).text
    assert card["text"] == expected != ""


def test_the_chosen_graph_is_all_of_the_model_that_is_fetched(
    waveform_bundle: Path, recordings: Path, texts: list[str]
) -> None:
    variants = json.loads((waveform_bundle / "bundle.json").read_text())["variants"]
    found = []
    for graph, variant in (("int8", "int8-dynamic"), (None, "fp32")):
        command = [sys.executable, PROGRAM, waveform_bundle, recordings.with_name("0.wav"), "--wire"]
        command += ["--precision", graph] if graph else []
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        text, wire = map(json.loads, done.stdout.splitlines())
        assert text["text"] == texts[0]
        assert wire["graph"]["bytes"] == variants[variant]["bytes"]
        assert wire["all"]["bytes"] == sum(wire[what]["bytes"] for what in ("graph", "onnxruntime", "page"))
        found.append(wire)
    assert found[0]["onnxruntime"] == found[1]["onnxruntime"]
    assert found[0]["all"]["gzip"] < found[1]["all"]["gzip"] < found[1]["all"]["bytes"]


def test_long_recordings_are_heard_as_in_python(
    page: Any, waveform_bundle: Path, say: Say, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    spoken = ["".join(generator.choice(list("abc "), 14)) for _ in range(11)]
    pauses = np.repeat([0, 16_000, 0, 40_000], 3)[: len(spoken)]
    parts = [np.concatenate([say(x), np.zeros(n)]) for x, n in zip(spoken, pauses, strict=True)]
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate(parts), 16_000)
    expected = Recognizer(waveform_bundle, "int8-dynamic", threads=1).transcribe(path)
    assert expected.duration > 60
    [card] = page.transcribe([path])
    assert card["text"] == expected.text
    assert len(card["text"]) > 100


def test_one_bad_file_does_not_stop_the_others(page: Any, say: Say, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", say("ab"), 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(tmp_path / "short.wav", np.full(80, 0.1), 16_000)  # less than a frame
    (tmp_path / "notes.mp3").write_text("this is text")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "cut.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:4000])
    names = ("notes.mp3", "empty.wav", "cut.wav", "silent.wav", "short.wav", "good.wav")
    cards = page.transcribe([tmp_path / name for name in names])
    assert [card["state"] for card in cards] == ["failed"] * 3 + ["silent"] * 2 + ["done"]
    expected = ["no audio that this browser decodes", "is empty", "cut short", "nothing", "nothing", "ab"]
    assert all(text in card["text"] for text, card in zip(expected, cards, strict=True))


def test_the_microphone_is_heard(page: Any) -> None:
    page.evaluate("document.querySelector('#record').click()")
    page.wait("document.querySelector('#record').ariaPressed", lambda pressed: pressed == "true")
    # Twice as long as it takes to say it: however it began, it was said once as a whole.
    page.wait("+document.querySelector('#hint').textContent.match(/\\d+/)?.[0]", lambda seconds: seconds == 4)
    cards = "document.querySelectorAll('article').length"
    before = page.evaluate(cards)
    page.evaluate("document.querySelector('#record').click()")
    page.wait(cards, lambda count: count > before)
    page.wait("document.querySelector('article').dataset.state", lambda state: state != "working")
    assert "ab" in page.evaluate("document.querySelector('article .text').textContent")


def test_text_is_shown_while_somebody_speaks(
    browser: Any, streaming_tone_bundle: Path, recordings: Path, texts: list[str]
) -> None:
    shown = "document.querySelector('article .text')?.textContent ?? ''"
    with web.served(streaming_tone_bundle) as address:
        assert browser.open(address) == ""
        browser.evaluate("document.querySelector('#record').click()")
        browser.wait(shown, lambda text: text.startswith(("ab", "b")))
        assert browser.evaluate("document.querySelector('#record').ariaPressed") == "true"
        browser.wait(shown, lambda text: text.count("ab") >= 2)
        browser.evaluate("document.querySelector('#record').click()")
        browser.wait("document.querySelector('article').dataset.state", lambda state: state == "done")
        assert set(browser.evaluate(shown)) == {"a", "b"}
        # Files are heard as they would be while they are said.
        assert browser.transcribe([recordings.parent / "0.wav"])[0]["text"] == texts[0]


def test_a_bundle_can_be_opened_from_the_disk(
    browser: Any, address: str, waveform_bundle: Path, recordings: Path, texts: list[str]
) -> None:
    assert "no bundle" in browser.open(f"{address}?bundle=nowhere")
    assert browser.evaluate("document.querySelector('#record').disabled")
    browser.choose("#folder", [waveform_bundle])
    browser.wait("!document.querySelector('#choose').disabled", bool)
    assert browser.transcribe([recordings.parent / "1.wav"])[0]["text"] == texts[1]


def altered(bundle: Path, folder: Path, what: str) -> Path:
    """Return a copy of a bundle with something wrong."""
    shutil.copytree(bundle, folder)
    record = json.loads((folder / "bundle.json").read_text())
    graph = folder / record["variants"]["int8-dynamic"]["file"]
    match what:
        case "byte":
            content = bytearray(graph.read_bytes())
            content[len(content) // 2] ^= 1
            graph.write_bytes(content)
        case "length":
            graph.write_bytes(graph.read_bytes()[:-10])
        case "graph":
            graph.unlink()
        case "schema":
            record["schema"] = 2
        case "outside":
            record["variants"]["int8-dynamic"]["file"] = "../secret.onnx"
        case "vocabulary":
            record["vocabulary"]["tokens"].append("d")
        case "blank":
            record["vocabulary"]["blank"] = 99
    text = "{" if what == "json" else json.dumps(record)
    (folder / "bundle.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ("byte", "model.int8.onnx is not what bundle.json says (sha256)"),
        ("length", "it was altered or cut short"),
        ("graph", "model.int8.onnx cannot be read (HTTP 404)"),
        ("schema", "bundle.json has schema 2, this page reads 1"),
        ("outside", "bundle.json is malformed"),
        ("vocabulary", "answers with 6 tokens where the vocabulary has 7"),
        ("blank", "no usable vocabulary"),
        ("json", "bundle.json is not JSON"),
    ],
)
def test_bad_bundles_are_refused_in_words(
    browser: Any, waveform_bundle: Path, tmp_path: Path, what: str, complaint: str
) -> None:
    with web.served(altered(waveform_bundle, tmp_path / "bundle", what)) as address:
        assert complaint in browser.open(address)


def test_another_profile_is_refused_in_words(browser: Any, tiny_bundle: Path) -> None:
    with web.served(tiny_bundle) as address:
        trouble = browser.open(address)
    assert "this bundle has the profile portable" in trouble
    assert "kdcompress export RUN --profile waveform" in trouble


def test_an_unknown_variant_is_refused_in_words(browser: Any, address: str) -> None:
    assert "no variant int3" in browser.open(f"{address}?variant=int3")


def test_without_onnxruntime_it_says_what_to_do(browser: Any, waveform_bundle: Path, tmp_path: Path) -> None:
    with web.served(waveform_bundle, "--onnxruntime-web", str(tmp_path)) as address:
        assert "npm install" in browser.open(address)


def test_the_page_fits_phones(page: Any, recordings: Path) -> None:
    page.transcribe([recordings.parent / "2.wav"])
    # What is wider than its box would be cut off, or scroll.
    cut = """[...document.querySelectorAll("html, section, article, article *")]
      .filter((box) => box.scrollWidth > box.clientWidth && getComputedStyle(box).display !== "inline")
      .map((box) => box.outerHTML.slice(0, 80))"""
    found = {}
    for width in (320, 390, 1200):
        size = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": True}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        found[width] = page.evaluate(cut)
    page.call("Emulation.clearDeviceMetricsOverride")
    assert found == {320: [], 390: [], 1200: []}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_by_day_and_by_night(
    page: Any, recordings: Path, tmp_path: Path, scheme: str
) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    (tmp_path / "notes.txt").write_text("no audio")
    page.transcribe([recordings.parent / "2.wav", tmp_path / "notes.txt"])
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 8
    assert min(contrasts) >= 4.5  # WCAG 2, level AA


# Of every visible text against the nearest background behind it.
CONTRASTS = """(() => {
  const rgba = (css) => css.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    const colour = rgba(getComputedStyle(node).backgroundColor);
    return colour.length === 3 || !node.parentElement ? colour : behind(node.parentElement);
  };
  const shown = [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() &&
    [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  return shown.map((node) => {
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(behind(node))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
})()"""


def test_nothing_is_asked_of_anyone_else(browser: Any, address: str, recordings: Path) -> None:
    browser.events.clear()
    assert browser.open(address) == ""
    browser.transcribe([recordings.parent / "0.wav"])
    happened = [(event["method"], event["params"]) for event in browser.events]
    asked = [params["request"]["url"] for method, params in happened if method == "Network.requestWillBeSent"]
    assert len(asked) > 5
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
    loud = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert not [params for method, params in happened if method in loud]
