from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcompress.runtime import session as sessions
from kdcompress.runtime.session import Session, run_bound


def test_bound_inputs_and_outputs_give_the_same_answer(
    tone_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []

    def written(session: Any, device: str, feeds: Any, outputs: Any) -> list[Any]:
        devices.append(device)
        return run_bound(session, device, feeds, outputs)

    monkeypatch.setattr(sessions, "run_bound", written)
    session = Session(tone_bundle / "model.onnx", threads=1)
    rng = np.random.default_rng(0)
    lengths = np.array([37, 21], np.int64)
    features = rng.normal(size=(2, 37, 80)).astype(np.float32)
    expected = session.run(features, lengths)
    assert not session.bound
    session.bound = True
    for found, wanted in zip(session.run(features, lengths), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert devices == ["cpu"]


def test_what_is_not_contiguous_is_read_as_it_is(tone_bundle: Path) -> None:
    session = Session(tone_bundle / "model.onnx", threads=1)
    features = np.random.default_rng(1).normal(size=(1, 40, 80)).astype(np.float32)
    feeds = {"audio_signal": features.transpose(0, 2, 1), "length": np.array([40], np.int64)}
    first, second = (
        run_bound(session.session, "cpu", values, ["logprobs"])[0]
        for values in (feeds, {**feeds, "audio_signal": feeds["audio_signal"].copy()})
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(np.exp(first).sum(-1), 1, rtol=1e-5)


def test_names_that_the_graph_does_not_have_are_refused(tone_bundle: Path) -> None:
    session = Session(tone_bundle / "model.onnx", threads=1)
    with pytest.raises(RuntimeError, match="nothing"):
        run_bound(session.session, "cpu", {"nothing": np.zeros(1, np.float32)}, ["logprobs"])
