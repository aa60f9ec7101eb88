"""Transcribe with the web page in Chromium without a window: python web_transcribe.py BUNDLE FILE…

For bundles of the profiles `waveform` and `streaming`. Prints one JSON object per file. Needs Chromium,
soundfile, and onnxruntime-web: run `npm install` in the folder `web`, or let KDCOMPRESS_ONNXRUNTIME_WEB name
the folder of ort.wasm.min.mjs. KDCOMPRESS_CHROMIUM names the browser. Where one is missing, the exit code
is 77.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import soundfile

PAGE = Path(__file__).resolve().parent / "web"
NOT_THERE = 77
CARDS = """[...document.querySelectorAll("article")].reverse().map(card => ({
  state: card.dataset.state, text: card.querySelector(".text").textContent,
  figures: Object.fromEntries([...card.querySelectorAll(".figures div")].map(pair =>
    [pair.firstChild.textContent, pair.lastChild.textContent])) }))"""
STATE = """({ ready: !document.querySelector("#choose").disabled,
  trouble: document.querySelector("#trouble:not([hidden]) p")?.textContent ?? "" })"""


class Browser:
    """Chromium without a window, driven through two pipes (the DevTools protocol)."""

    def __init__(self, program, *flags):
        import fcntl  # not on Windows, where `missing` says so

        self.profile = tempfile.mkdtemp(prefix="chromium-")
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [program, "--headless", "--remote-debugging-pipe", f"--user-data-dir={self.profile}"]
        command += ["--no-first-run", "--disable-gpu", "--mute-audio", *as_root, *flags, "about:blank"]
        (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
        # Chromium reads from 3 and writes to 4: away with ours from there.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (its_in, its_out)]
        silent = os.open(os.devnull, os.O_RDWR)
        placed = [(os.POSIX_SPAWN_DUP2, end, number) for end, number in zip(ends, (3, 4), strict=True)]
        quiet = [(os.POSIX_SPAWN_DUP2, silent, number) for number in (1, 2)]
        self.process = os.posix_spawn(program, command, os.environ, file_actions=[*placed, *quiet])
        for end in (its_in, its_out, silent, *ends):
            os.close(end)
        self.requests, self.answers = os.fdopen(our_out, "wb"), os.fdopen(our_in, "rb")
        self.count, self.rest, self.events = 0, b"", []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {
            "sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        }

    def call(self, method, **params):
        """Ask for something; returns the answer. What happened meanwhile is in `events`."""
        self.count += 1
        session = getattr(self, "session", {})
        message = {"id": self.count, "method": method, "params": params, **session}
        self.requests.write(json.dumps(message).encode() + b"\0")
        self.requests.flush()
        while True:
            while b"\0" not in self.rest:
                block = self.answers.read1(1 << 16)
                if not block:
                    raise SystemExit("the browser has ended")
                self.rest += block
            line, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression):
        """Return what JavaScript gives in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def wait(self, expression, good, seconds=120):
        """Ask the page again and again until `good` likes the answer; returns it."""
        end = time.monotonic() + seconds
        while not good(value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise SystemExit(f"the page did not answer within {seconds} s: {value}")
            time.sleep(0.05)
        return value

    def open(self, address):
        """Open the page; returns its trouble, which is empty when a model is ready."""
        self.call("Page.enable")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && !!document.querySelector('#trouble')", bool)
        return self.wait(STATE, lambda state: state["ready"] or state["trouble"])["trouble"]

    def choose(self, selector, files):
        """Choose files for an input of the page."""
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(Path(file).resolve()) for file in files])

    def transcribe(self, files):
        """Give the page files; returns its cards for them."""
        before = self.evaluate('document.querySelectorAll("article").length')
        self.choose("#files", files)
        count = before + len(files)
        done = "document.querySelectorAll('article:not([data-state=working]):not(:has(progress))').length"
        self.wait(done, lambda found: found == count, seconds=600)
        return self.evaluate(CARDS)[before:]

    def photograph(self, path):
        """Write a picture of the whole page."""
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        Path(path).write_bytes(base64.b64decode(picture))

    def close(self):
        """End the browser."""
        try:
            self.session = {}
            self.call("Browser.close")
        except (OSError, SystemExit):
            pass  # it was faster
        self.requests.close()
        self.answers.close()
        os.waitpid(self.process, 0)
        shutil.rmtree(self.profile, ignore_errors=True)


@contextmanager
def served(bundle, *wishes, sent=None):
    """Serve the page with a bundle; gives its address. What was sent is put into a list, as lines."""
    command = [sys.executable, PAGE / "serve.py", bundle, "--port", "0", "--quiet"]
    command += ["--onnxruntime-web", runtime(), *wishes]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
            if sent is not None:
                sent += server.stdout.read().splitlines()


def runtime():
    """Return where onnxruntime-web is, or should be."""
    return Path(os.environ.get("KDCOMPRESS_ONNXRUNTIME_WEB", PAGE / "node_modules/onnxruntime-web/dist"))


def chromium():
    """Return where the browser is, or None."""
    named = os.environ.get("KDCOMPRESS_CHROMIUM")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome", "chrome"]
    return next(filter(None, map(shutil.which, names)), None)


def missing():
    """Return in words what is not there; empty when all is."""
    if os.name == "nt":
        return "Chromium is driven through pipes that Windows does not have; the page itself runs there"
    if not (runtime() / "ort.wasm.min.mjs").is_file():
        return f"no onnxruntime-web in {runtime()}: npm install in {PAGE}, or KDCOMPRESS_ONNXRUNTIME_WEB"
    if chromium() is None:
        return "no Chromium: install it, or let KDCOMPRESS_CHROMIUM name it"
    return ""


def version():
    """Return that of onnxruntime-web."""
    package = runtime().parent / "package.json"
    return json.loads(package.read_text("utf-8"))["version"] if package.is_file() else "unknown"


def stretch(folder, entry, temporary):
    """Return a file that is what the entry of a manifest means, cut out where it is a part of one."""
    source = folder / entry["audio_filepath"]
    with soundfile.SoundFile(source) as file:
        # Browsers read all but WAV in ways of their own.
        if file.format == "WAV" and not {"offset", "duration"} & set(entry):
            return source
        file.seek(round(entry.get("offset", 0) * file.samplerate))
        frames = round(entry["duration"] * file.samplerate) if "duration" in entry else -1
        cut = Path(tempfile.mkstemp(suffix=".wav", dir=temporary)[1])
        soundfile.write(cut, file.read(frames, dtype="float32"), file.samplerate, subtype="FLOAT")
    return cut


def tally(sent):
    """Return bytes, and bytes if the server had compressed them, by what they were sent for."""
    found = {"graph": [0, 0], "onnxruntime": [0, 0], "page": [0, 0]}
    for plain, compressed, name in (line.split(" ", 2) for line in sent):
        of = "graph" if name.endswith(".onnx") else "onnxruntime" if name.startswith("ort") else "page"
        found[of] = [found[of][0] + int(plain), found[of][1] + int(compressed)]
    found["all"] = [sum(column) for column in zip(*found.values(), strict=True)]
    return {name: {"bytes": plain, "gzip": compressed} for name, (plain, compressed) in found.items()}


def main():
    """Transcribe what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument(
        "--manifest", type=Path, help="JSON lines with audio_filepath, and perhaps offset, duration"
    )
    parser.add_argument("--precision", help="int8 for model.int8.onnx; model.onnx unless given")
    parser.add_argument("--as-it-is", action="store_true", help="let the browser decode what is no WAV file")
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--figures", action="store_true", help="print what else the page shows")
    parser.add_argument("--wire", action="store_true", help="print in the end what the server has sent")
    parser.add_argument("--picture", type=Path, help="write what the page looks like in the end, as PNG")
    parser.add_argument("--version", action="store_true", help="of onnxruntime-web")
    args = parser.parse_intermixed_args()
    if reason := missing():
        print(reason, file=sys.stderr)
        sys.exit(NOT_THERE)
    if args.version:
        print(version())
        return
    if args.bundle is None:
        parser.error("BUNDLE is missing")

    entries = [(Path(), {"audio_filepath": str(file)}) for file in args.files]
    if args.manifest:
        lines = args.manifest.read_text(encoding="utf-8").splitlines()
        entries += [(args.manifest.parent, json.loads(line)) for line in lines if line.strip()]
    graph = f"model.{args.precision}.onnx" if args.precision else "model.onnx"
    variants = json.loads((args.bundle / "bundle.json").read_text(encoding="utf-8"))["variants"]
    variant = next((name for name, entry in variants.items() if entry["file"] == graph), None)
    if variant is None:
        sys.exit(f"{args.bundle} lists no {graph}")

    sent = []
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory())
        wishes = ["--one-thread"] * args.one_thread + ["--sizes"] * args.wire
        address = stack.enter_context(served(args.bundle, *wishes, sent=sent))
        browser = Browser(chromium())
        stack.callback(browser.close)
        if trouble := browser.open(f"{address}?variant={variant}"):
            sys.exit(trouble)
        files = [
            folder / entry["audio_filepath"] if args.as_it_is else stretch(folder, entry, temporary)
            for folder, entry in entries
        ]
        for (_, entry), card in zip(entries, browser.transcribe(files), strict=True):
            if card["state"] == "failed":
                sys.exit(card["text"])
            text = "" if card["state"] == "silent" else card["text"]
            figures = card["figures"] if args.figures else {}
            result = {"audio_filepath": entry["audio_filepath"], "text": text, **figures}
            print(json.dumps(result, ensure_ascii=False), flush=True)
        if args.picture:
            browser.photograph(args.picture)
    if args.wire:
        print(json.dumps(tally(sent)))


if __name__ == "__main__":
    main()
