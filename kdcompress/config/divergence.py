"""How far the student's distribution is from the teacher's, frame by frame."""

from typing import Annotated, Literal

from pydantic import Field

from kdcompress.config.base import Frozen


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

    Forward KL is the same with the teacher's mass of the rest for β: where the teacher is certain, it says
    nothing of the rest.

    Attributes:
        rest_weight: β.
    """

    kind: Literal["decoupled"] = "decoupled"
    rest_weight: float = Field(1.0, ge=0)


Divergence = Annotated[ForwardKL | ReverseKL | JensenShannon | DecoupledKD, Field(discriminator="kind")]
