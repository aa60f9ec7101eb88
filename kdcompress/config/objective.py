"""What the student is to match, and on which frames."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen
from kdcompress.config.selection import Selection, SelectSymmetric


class ForwardKL(Frozen):
    """KL(teacher ‖ student): the student covers all that the teacher holds possible."""

    kind: Literal["forward-kl"] = "forward-kl"


class ReverseKL(Frozen):
    """KL(student ‖ teacher): the student commits itself to what the teacher holds probable."""

    kind: Literal["reverse-kl"] = "reverse-kl"


class JensenShannon(Frozen):
    """The mean of both divergences from the middle of the two; at most log 2."""

    kind: Literal["jensen-shannon"] = "jensen-shannon"


class DecoupledKD(Frozen):
    """KL of the masses of {blank, the teacher's token, rest}, plus β times the KL inside the rest.

    Forward KL is the same with the teacher's mass of the rest for β: where the teacher is certain, the rest
    counts for nothing there.

    Attributes:
        rest_weight: β.
    """

    kind: Literal["decoupled"] = "decoupled"
    rest_weight: float = Field(1.0, ge=0)


Divergence = Annotated[ForwardKL | ReverseKL | JensenShannon | DecoupledKD, Field(discriminator="kind")]


class PseudoLabelConfig(Frozen):
    """CTC on the teacher's own greedy transcript, where it is sure enough of it.

    Attributes:
        weight: of the term. With it symmetric selection beats all frames without it, significantly, on words
            and on phones (recipes/comparisons/an4-mixed and phones-mixed).
        min_confidence: transcripts below are left out; the confidence is exp(log P(best path) / labels), from
            0 to 1 (Kahn et al. 2020, arXiv 1909.09116, normalise likewise). 0 keeps all.
    """

    weight: float = Field(1.0, ge=0)
    min_confidence: float = Field(0.0, ge=0, le=1)


class ObjectiveConfig(Frozen):
    """L = λ·(w_f·L_KD + w_o·L_occupancy + w_p·L_pseudo) + (1 − λ)·L_CTC + w_c·L_consistency.

    Each term is divided by its own count over the whole step: selected frames, valid frames, labels of the
    kept transcripts, labels of the references, the student's frames (but see `occupancy_frames`).

    Attributes:
        kd_weight: λ. 1: no transcript is read; 0: supervised CTC, no teacher is opened.
        frame_weight: w_f of the divergence on the selected frames; 0: none of it.
        divergence: what L_KD measures.
        temperature: τ, applied to both sides.
        selection: frames that L_KD is taken over.
        occupancy_weight: w_o of the two-class KL {blank, not blank}.
        occupancy_frames: which frames that is taken over. `all`: the valid ones, divided by their number.
            `rest`: those that the selection leaves out, and L_KD is divided by all valid frames as well, so
            that a frame weighs the same on either side. Both together are then the KL on all frames, but
            for how the teacher divides the mass outside the blank where that is the best token.
        pseudo_label: w_p and filter of CTC on the teacher's transcripts.
        consistency_weight: w_c; above 0 the student is run on each batch under two draws of SpecAugment, all
            other terms are means over the two, and each is pulled to the other (CR-CTC, Yao et al. 2024,
            arXiv 2410.05101: 0.2 on sums there, which is 0.2 times the frames per label here).
        exit_weight: v, for students with exits: L becomes (1 − v)·L(end) + v·mean of L over the exits.
        delay_ms: the student is to come so much later than its teacher, for students that stream.
        window_ms: the student may come up to so much later than that: of all alignments of its frames with
            the teacher's that keep every label, the one that its output is closest to is taken at each step.
        terms: options by name of further terms, `weight` among them; see `docs/extending.md`. `full_context`
            pulls a streaming student's output in chunks to its own with full context.
    """

    kd_weight: float = Field(1.0, ge=0, le=1)
    frame_weight: float = Field(1.0, ge=0)
    divergence: Divergence = ForwardKL()
    temperature: float = Field(1.0, gt=0)
    selection: Selection = SelectSymmetric(ms=80)
    occupancy_weight: float = Field(1.0, ge=0)
    occupancy_frames: Literal["all", "rest"] = "rest"
    pseudo_label: PseudoLabelConfig = PseudoLabelConfig()
    consistency_weight: float = Field(0.0, ge=0)
    exit_weight: float = Field(0.3, ge=0, lt=1)
    delay_ms: float = Field(0.0, ge=0)
    window_ms: float = Field(0.0, ge=0)
    terms: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.kd_weight > 0 and not (self.compares_frames or self.pseudo_label.weight or self.terms):
            raise ValueError(
                "kd_weight is above 0, but frame_weight, occupancy_weight and pseudo_label.weight are all 0: "
                "give one of them a weight"
            )
        return self

    @property
    def compares_frames(self) -> bool:
        """Whether a term compares frames of student and teacher, whose units must then be the same."""
        return self.kd_weight > 0 and (self.frame_weight > 0 or self.occupancy_weight > 0)
