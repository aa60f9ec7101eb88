"""The one place that imports torchaudio, whose wheels rarely fit the torch beside them.

torchaudio 2.11, the newest on the package index, is built for one CUDA version and declares no torch version.
Beside a CPU-only torch its compiled extension does not load (OSError: libc10_cuda.so is missing), beside
another CUDA version it refuses (RuntimeError). All that is wanted here is written in Python (models,
pipelines, `compliance.kaldi`, `functional`) and works without the extension, as upstream intends where the
file is absent.
"""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from kdcompress.errors import MissingExtra, TeacherError

_EXTENSION = "torchaudio._extension"


@functools.cache
def load_torchaudio() -> ModuleType:
    """Import torchaudio, without its compiled extension where that does not fit the installed torch.

    Without it `functional.forced_align`, `functional.rnnt_loss` and the CUDA decoder fail when called; the
    filters of `functional.filtering` run in Python.

    Raises:
        MissingExtra: torchaudio is not installed.
        TeacherError: it is installed and fails to import for another reason than its extension.
    """
    try:
        return importlib.import_module("torchaudio")
    except (OSError, ImportError, RuntimeError) as error:
        if importlib.util.find_spec("torchaudio") is None:
            raise MissingExtra("torchaudio", "train", "a torchaudio model") from error
        return _import_without_extension()


def _import_without_extension() -> ModuleType:
    _forget()
    extension = _stand_in()
    sys.modules[_EXTENSION] = extension
    try:
        torchaudio = importlib.import_module("torchaudio")
    except (OSError, ImportError, RuntimeError) as error:
        _forget()
        raise TeacherError(
            f"torchaudio cannot be imported beside the installed torch: {' '.join(str(error).split())}; "
            "install the torchaudio made for it"
        ) from error
    # Python sets a submodule on its package only when it imported the submodule itself.
    vars(torchaudio)["_extension"] = extension
    return torchaudio


def _forget() -> None:
    """Drop modules that a failed import left half-done: they would be taken for whole ones."""
    for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
        del sys.modules[name]


def _stand_in() -> ModuleType:
    """Return what `torchaudio._extension` is where its library file is absent."""
    module = ModuleType(_EXTENSION, "Stands in for torchaudio's extension, which does not fit this torch.")
    module.__spec__ = ModuleSpec(_EXTENSION, None)
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        _load_lib=lambda library: False,
        fail_if_no_align=_fail_if_no_align,
    )
    return module


def _fail_if_no_align(function: Callable[..., Any]) -> Callable[..., NoReturn]:
    @functools.wraps(function)
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError(
            f"{function.__name__} needs torchaudio's compiled extension, which does not fit this torch"
        )

    return fail
