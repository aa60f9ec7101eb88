"""Tiny, randomly initialised models of every family, on disk as users have them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_transformers import FAMILIES, save_model


@pytest.fixture(scope="session", autouse=True)
def _importable_transformers() -> None:
    """Let transformers find a torchaudio that imports, as `TransformersTeacher.open` does."""
    from kdcompress.frontend.torchaudio_import import load_torchaudio

    load_torchaudio()


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the directory of a family's model, written once with `save_pretrained`."""
    import transformers

    folders: dict[str, Path] = {}

    def save(name: str) -> Path:
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            if not hasattr(transformers, f"{FAMILIES[name].model}ForCTC"):
                pytest.skip(f"transformers {transformers.__version__} has no {FAMILIES[name].model}")
            save_model(name, folder)
            folders[name] = folder
        return folders[name]

    return save
