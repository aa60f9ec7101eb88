"""A planted regression: on PYTHONPATH, it makes every run of an onnxruntime session take 20 ms longer."""

import functools
import time
from collections.abc import Callable
from typing import Any

from onnxruntime import InferenceSession


def _slower(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.02)
        return run(*args, **kwargs)

    return wrapper


for _name in ("run", "run_with_iobinding"):
    setattr(InferenceSession, _name, _slower(getattr(InferenceSession, _name)))
