"""What makes a measurement void, and what makes it doubtful."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kdcompress.report.measured import Facts

# Share of the spoken utterances: a model that says nothing to most of them is fast for the wrong reason.
_EMPTY = 0.5


@dataclass(frozen=True)
class Validity:
    """Of one candidate.

    Attributes:
        void: why it is not to be timed; None where it may be.
        note: what a reader must know; None where there is nothing.
    """

    void: str | None = None
    note: str | None = None


def check_fallback(facts: Facts, allowed: bool) -> Validity:
    """Refuse a model whose computation ran elsewhere than on the provider asked for."""
    if not facts.fallback:
        return Validity()
    kinds = ", ".join(f"{count} {op}" for op, count in list(facts.fallback.items())[:4])
    more = ", …" if len(facts.fallback) > 4 else ""
    found = (
        f"{sum(facts.fallback.values())} nodes of the model fell back from {facts.provider}: {kinds}{more}"
    )
    if allowed:
        return Validity(note=found)
    return Validity(
        void=f"{found}; export another variant for it, or measure it all the same (--allow-fallback)"
    )


def check_silence(references: Mapping[str, str | None], texts: Mapping[str, str]) -> Validity:
    """Refuse a model that gives no text for most of what was said, or none at all.

    Args:
        references: what was said, by utterance; where it is empty, silence is right, and where it is None,
            nobody knows.
        texts: what was recognised.
    """
    unknown = [name for name, text in references.items() if text is None]
    spoken = [name for name, text in references.items() if text is not None and text.strip()]
    silent = [name for name in spoken if not texts[name].strip()]
    if spoken and len(silent) == len(spoken):
        return Validity(void=f"every transcript is empty, though {len(spoken)} references are not")
    if unknown and len(unknown) == len(references) and not any(texts[name].strip() for name in unknown):
        return Validity(
            void="every transcript is empty, though no manifest says, with empty texts, that all is silence"
        )
    found = f"{len(silent)} of {len(spoken)} transcripts are empty, though their references are not"
    if len(silent) > _EMPTY * len(spoken):
        return Validity(void=found)
    return Validity(note=found) if silent else Validity()


def check_empty_output(
    texts: Mapping[str, Mapping[str, str]], unknown: Collection[str]
) -> dict[str, Validity]:
    """Judge each candidate by where at least half of the others give text, where there are no references.

    Args:
        texts: what was recognised, by candidate and utterance.
        unknown: utterances of which nobody has written down what was said.
    """
    found_of = {}
    for name, own in texts.items():
        others = [theirs for other, theirs in texts.items() if other != name]
        speech = [
            utterance
            for utterance in unknown
            if others and sum(bool(theirs[utterance].strip()) for theirs in others) >= len(others) / 2
        ]
        silent = sum(not own[utterance].strip() for utterance in speech)
        found = f"{silent} transcripts are empty of the {len(speech)} utterances in which others find words"
        # One against one is no evidence: the other may find words that nobody said.
        if silent > _EMPTY * len(speech) and len(others) > 1:
            found_of[name] = Validity(void=found)
        elif silent:
            found_of[name] = Validity(note=found)
    return found_of
