"""What makes a measurement void, and what makes it doubtful."""

from collections.abc import Mapping
from dataclasses import dataclass

from kdcompress.bench.facts import Facts

# Share of the spoken utterances: a model that is deaf to most of them is fast for the wrong reason.
_MUTE = 0.5


@dataclass(frozen=True)
class Verdict:
    """Of one candidate.

    Attributes:
        void: why it is not to be timed; None where it may be.
        note: what a reader must know; None where there is nothing.
    """

    void: str | None = None
    note: str | None = None


def judge_fallback(facts: Facts, allowed: bool) -> Verdict:
    """Refuse a model whose computation ran elsewhere than on the provider asked for."""
    if not facts.fallback:
        return Verdict()
    kinds = ", ".join(f"{count} {op}" for op, count in list(facts.fallback.items())[:4])
    more = ", …" if len(facts.fallback) > 4 else ""
    found = (
        f"{sum(facts.fallback.values())} nodes of the model fell back from {facts.provider}: {kinds}{more}"
    )
    if allowed:
        return Verdict(note=found)
    return Verdict(
        void=f"{found}; export another variant for it, or measure it all the same (--allow-fallback)"
    )


def judge_silence(references: Mapping[str, str], texts: Mapping[str, str]) -> Verdict:
    """Refuse a model that hears nothing in most of what was said.

    Args:
        references: what was said, by utterance; where it is empty, silence is right.
        texts: what was heard.
    """
    spoken = [name for name, text in references.items() if text.strip()]
    silent = [name for name in spoken if not texts[name].strip()]
    if spoken and len(silent) == len(spoken):
        return Verdict(void=f"every transcript is empty, though {len(spoken)} references are not")
    if len(silent) > _MUTE * len(spoken):
        return Verdict(
            void=f"{len(silent)} of {len(spoken)} transcripts are empty, though their references are not"
        )
    if silent:
        return Verdict(
            note=f"{len(silent)} of {len(spoken)} transcripts are empty, though their references are not"
        )
    return Verdict()
