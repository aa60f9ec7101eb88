"""Tiny models of transformers to make students of."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_transformers import save_model

from kdcompress.students.transformers_inputs import import_transformers


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the directory of a family's model, written once."""
    import_transformers()
    folders: dict[str, Path] = {}

    def save(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            save_model(name, folders[name])
        return folders[name]

    return save
