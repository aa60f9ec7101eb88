"""Keep of a report of `kdcompress bench` what a later run is compared with.

Usage: baseline.py REPORT BASELINE
"""

import json
import sys
from pathlib import Path
from typing import Any

_KEPT = {
    "": {"schema", "kind", "created", "machine", "settings", "utterances", "results", "differences"},
    "machine": {"cpu", "cores", "usable_cores", "gpu", "versions"},
    "settings": {"source", "repeats", "normalizer", "normalizer_version", "reference", "seed"},
    "utterances": {"id", "duration", "reference"},
    "results": {"name", "bytes", "parameters", "facts", "failed", "accuracy", "timing", "hypotheses"},
    "timing": {"rtf", "model_rtf", "speed"},
}


def trimmed(value: Any, name: str = "") -> Any:
    """Return a report without what only its reader at the time was interested in."""
    if isinstance(value, list):
        return [trimmed(item, name) for item in value]
    if not isinstance(value, dict):
        return value
    kept = _KEPT.get(name, value.keys())
    return {key: trimmed(item, key) for key, item in value.items() if key in kept}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    report = trimmed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    # A line for each part: small, and what differs from the last baseline is still seen.
    parts = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in report.items()
    )
    Path(sys.argv[2]).write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
