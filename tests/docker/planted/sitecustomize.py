"""A planted regression: with this folder on PYTHONPATH every run of an onnxruntime session takes 10 ms longer."""

import time
from typing import Any

import onnxruntime

for _name in ("run", "run_with_iobinding"):

    def _slower(self: Any, *args: Any, _run: Any = getattr(onnxruntime.InferenceSession, _name), **kwargs: Any) -> Any:
        time.sleep(0.01)
        return _run(self, *args, **kwargs)

    setattr(onnxruntime.InferenceSession, _name, _slower)
