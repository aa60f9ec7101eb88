"""What a graph file costs whoever ships it: bytes over the wire, and time and memory until it is loaded."""

import json
import subprocess
import sys
from pathlib import Path

from kdcompress.runtime.graph_file import gzip_bytes

# In a process of its own, with one thread: what it has held before would hide what a load needs.
_PROGRAM = """
import json, sys, time
import onnxruntime

def held(field):
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field + ":"))
    except (OSError, StopIteration):
        return None

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 3
taken, before = [], held("VmRSS")
for turn in range(3):
    begin = time.perf_counter()
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    taken.append(time.perf_counter() - begin)
    if not turn:
        peak, after = held("VmHWM"), held("VmRSS")
    del session
print(json.dumps({
    "load_ms": round(1000 * min(taken), 1),
    "load_peak_bytes": before and peak and peak - before,
    "loaded_bytes": before and after and after - before,
}))
"""
_SECONDS = 300


def file_cost(path: Path) -> dict[str, float | None]:
    """Return what a graph file costs.

    The keys: `gzip_bytes`; `load_ms`, the fastest of three loads by onnxruntime on one thread; by how much
    the process grew meanwhile (`load_peak_bytes`) and afterwards (`loaded_bytes`), where the system tells.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    loading = json.loads(done.stdout) if done.returncode == 0 else {}
    return {"gzip_bytes": gzip_bytes(path), **loading}
