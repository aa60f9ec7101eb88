"""How many labels a second of speech has: what clips without any count as, and whether anybody speaks."""

from kdcompress.aliases import Progress
from kdcompress.audio.utterance import SAMPLE_RATE
from kdcompress.config.recipe import Recipe
from kdcompress.distill.data.audio_batch import audio_batches
from kdcompress.distill.data.training_data import TrainingData
from kdcompress.distill.objective.pseudo_labels import PseudoLabeller
from kdcompress.distill.posteriors.source import PosteriorSource
from kdcompress.errors import AudioError
from kdcompress.text.tokenizer import Tokenizer

_SAMPLE = 32  # utterances


def resolve_label_rate(
    recipe: Recipe,
    data: TrainingData,
    source: PosteriorSource | None,
    tokenizer: Tokenizer,
    on_progress: Progress | None = None,
    *,
    is_spoken: bool,
) -> float:
    """Return the labels of a second of speech [1/s]: of the transcripts, else of the teacher's.

    The teacher is run on a few evenly spaced utterances, and only if the answer is needed; at a speed of the
    recipe's, since a cache has no other.

    Args:
        tokenizer: of the student, whose labels are counted.
        is_spoken: the teacher transcribes something of what is held out.

    Raises:
        AudioError: the teacher transcribes nothing, and there is nothing else to learn from.
    """
    known, objective = data.label_rate, recipe.objective
    if source is None or (is_spoken and (known or not objective.pseudo_label.weight)):
        return known
    labeller = PseudoLabeller(source.vocabulary, tokenizer, 0.0)
    speech = data.speech
    labels = samples = 0
    sample = speech[:: max(1, len(speech) // _SAMPLE)][:_SAMPLE]
    speed = min(recipe.data.speed, key=lambda factor: abs(factor - 1))
    for batch in audio_batches(sample, recipe.data.batch_seconds, on_progress, speed=speed):
        found = labeller(source(batch), batch.lengths)  # as many frames as samples: all labels fit
        labels += int(found.lengths.sum())
        samples += int(batch.lengths[found.row][found.lengths > 0].sum())
    if not labels and not is_spoken and objective.kd_weight == 1:
        raise AudioError(
            f"{recipe.data.audio}: the teacher transcribes nothing of {len(sample)} utterances to train on, "
            "nor of those held out: a student would learn to print nothing. Is it speech, and of the "
            f"teacher's language? See: kdcompress inspect TEACHER --audio {recipe.data.audio}"
        )
    return known or labels * SAMPLE_RATE / max(1.0, samples * speed)
