"""Every error that kdcompress raises on purpose.

    KdcompressError                 exit code 1; the message is one line for the user
    ├── ConfigError  (ValueError)   a recipe, flag or `--set` that cannot be obeyed
    ├── AudioError   (ValueError)   an audio file or folder that cannot be used
    │   └── TooManyBadFiles         more unusable files than the recipe allows
    ├── ManifestError (ValueError)  a manifest line that is not what the format says
    ├── VocabularyError (ValueError)  two vocabularies that ought to be one, or a malformed one
    ├── TeacherError (RuntimeError) a teacher that cannot be opened or gives nonsense
    ├── CacheError   (RuntimeError) a cache that is stale, foreign, incomplete or cannot be written
    ├── RunError     (RuntimeError) a run directory that cannot be created, resumed or read
    ├── InUse        (RuntimeError) a run or bundle that another process is writing
    ├── NumericsError (ArithmeticError)  NaN or infinity where a number is needed
    ├── ExportError  (RuntimeError) a graph that cannot be written or fails its parity check
    ├── BundleError  (ValueError)   a bundle directory that is incomplete, altered or of another schema
    ├── BenchError   (RuntimeError) a measurement that would not be true
    └── MissingExtra (ImportError)  an optional dependency that is not installed

Each also subclasses the builtin that a caller would expect, so `except ValueError` works.
Messages say what was found, what was expected and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class KdcompressError(Exception):
    """Base of all errors that kdcompress raises on purpose."""


class ConfigError(KdcompressError, ValueError):
    """A recipe, flag or override that cannot be obeyed."""


class AudioError(KdcompressError, ValueError):
    """An audio file or folder that cannot be used."""


class TooManyBadFiles(AudioError):
    """More unusable audio files than the recipe allows."""


class ManifestError(KdcompressError, ValueError):
    """A manifest line that is not what the format says."""


class VocabularyError(KdcompressError, ValueError):
    """Two vocabularies that ought to be one, or a malformed one."""


class TeacherError(KdcompressError, RuntimeError):
    """A teacher that cannot be opened or gives nonsense."""


class CacheError(KdcompressError, RuntimeError):
    """A cache of a teacher's answers that is stale, foreign, incomplete, or cannot be written."""


class RunError(KdcompressError, RuntimeError):
    """A run directory that cannot be created, resumed or read."""


class InUse(KdcompressError, RuntimeError):
    """A run or bundle that another process is writing."""


class NumericsError(KdcompressError, ArithmeticError):
    """NaN or infinity where a number is needed."""


class ExportError(KdcompressError, RuntimeError):
    """A graph that cannot be written or fails its parity check."""


class BundleError(KdcompressError, ValueError):
    """A bundle directory that is incomplete, altered or of another schema."""


class BenchError(KdcompressError, RuntimeError):
    """A measurement that would not be true."""


class MissingExtra(KdcompressError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, needed: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {needed}, which is not installed: pip install 'kdcompress[{extra}]'; "
            "kdcompress doctor shows what is there"
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known word that is most like this one; empty where none is."""
    close = get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
