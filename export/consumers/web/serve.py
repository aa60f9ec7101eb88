"""Serve the page and a bundle: python serve.py BUNDLE [--port 8000]

Any static server does as well (python -m http.server in this folder, with the bundle copied to `bundle`).
This one needs no copy, and sends the two headers for which browsers give a page more than one thread.
"""

import argparse
import gzip
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).resolve().parent
RUNTIME = "node_modules/onnxruntime-web/dist"


class Handler(SimpleHTTPRequestHandler):
    """Files of the page, and of other folders as if they lay in it."""

    protocol_version = "HTTP/1.1"  # a browser then asks for all of the page's files over few connections
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *args, folders, isolated, quiet, sizes, **kwargs):
        self.folders, self.isolated, self.quiet, self.sizes = folders, isolated, quiet, sizes
        super().__init__(*args, directory=str(PAGE), **kwargs)

    def translate_path(self, path):
        for name, folder in self.folders.items():
            if path.startswith(f"/{name}/"):
                self.directory = str(folder)
                path = path.removeprefix(f"/{name}")
                break
        else:
            self.directory = str(PAGE)
        return super().translate_path(path)

    def end_headers(self):
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def copyfile(self, source, outputfile):
        content = source.read()
        if self.sizes:
            print(len(content), len(gzip.compress(content, 6, mtime=0)), Path(source.name).name, flush=True)
        outputfile.write(content)

    def log_message(self, *args):
        if not self.quiet:
            super().log_message(*args)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bundle", type=Path)
parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other devices in, without microphone")
parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
parser.add_argument("--onnxruntime-web", type=Path, default=PAGE / RUNTIME, help="folder with its files")
parser.add_argument("--one-thread", action="store_true", help="leave the two headers out")
parser.add_argument("--quiet", action="store_true", help="do not log requests")
parser.add_argument("--sizes", action="store_true", help="print what is sent: bytes, bytes as gzip, file")
args = parser.parse_args()

folders = {"bundle": args.bundle.resolve(), RUNTIME: args.onnxruntime_web.resolve()}
handler = partial(Handler, folders=folders, isolated=not args.one_thread, quiet=args.quiet, sizes=args.sizes)
with ThreadingHTTPServer((args.host, args.port), handler) as server:
    name = "localhost" if args.host == "127.0.0.1" else args.host
    print(f"http://{name}:{server.server_port}/", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()
