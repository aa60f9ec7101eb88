"""Means and scales of the training audio instead of each utterance's."""

import pytest
import torch

from kdcompress.config.student import ConformerConfig
from kdcompress.errors import AudioError
from kdcompress.students.conformer import ConformerStudent


def fixed(**knobs: object) -> ConformerStudent:
    torch.manual_seed(0)
    tiny = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 2.0, "kernel": 3, "stem_channels": 4}
    shape = {**tiny, "frame_shift_ms": 40, "normalize": "fixed", **knobs}
    return ConformerStudent(ConformerConfig.model_validate(shape), 6).eval()


@pytest.mark.parametrize("frontend", ["logmel", "kaldi"])
@torch.no_grad()
def test_the_training_audio_is_normal_and_an_utterance_depends_on_itself_alone(frontend: str) -> None:
    student = fixed(frontend=frontend)
    audio = [0.1 * torch.randn(n) * torch.linspace(0.1, 1, n) for n in (8_000, 24_000, 70)]
    with pytest.raises(AudioError, match="no audio"):
        student.measure(audio[2:])
    student.measure(audio)
    student.measure([torch.randn(16_000)])  # they are known
    alone = [student.features(x[None], torch.tensor([len(x)]))[0][0] for x in audio[:2]]
    frames = torch.cat(alone)
    torch.testing.assert_close(frames.mean(0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)
    beginning, _ = student.features(audio[1][None, :16_000], torch.tensor([16_000]))
    torch.testing.assert_close(beginning[0, :95], alone[1][:95])

    # The graph takes what the front end gives, as runtimes compute it.
    view = student.export_view("portable")
    assert view.frontend.normalize == "none"
    given = view.prepare(audio[1])[None].transpose(1, 2)
    log_probs, _ = view.module(given, torch.tensor([given.shape[2]]))
    torch.testing.assert_close(log_probs, student(audio[1][None], torch.tensor([24_000]))[0])
