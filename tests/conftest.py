"""What every test shares: quiet surroundings, deterministic hypothesis, real speech where there is some."""

import os
from pathlib import Path

# Before numpy or torch is imported: the cores are shared between test processes, not threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may depend on, or reach for, a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"

import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).resolve().parent.parent

settings.register_profile("default", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("default")


@pytest.fixture(scope="session")
def an4() -> Path:
    """Return the folder of CMU AN4 (audio/, train.jsonl, dev.jsonl, test.jsonl); skip where there is none."""
    folder = Path(os.environ.get("KDCOMPRESS_AN4", CHECKOUT.parent / "shared" / "data" / "an4"))
    if not (folder / "test.jsonl").is_file():
        pytest.skip(f"no AN4 at {folder}: set KDCOMPRESS_AN4 to a folder with audio/ and test.jsonl")
    return folder
