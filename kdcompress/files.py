"""Files that are complete, or as they were."""

import os
from pathlib import Path


def write_whole(text: str, path: Path) -> None:
    """Write a text file in one step."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
