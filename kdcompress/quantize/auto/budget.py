"""What `auto` may do to a graph, and what it found."""

from dataclasses import dataclass, field
from typing import Any

from kdcompress.config.deploy import Preference
from kdcompress.errors import ConfigError
from kdcompress.quantize.auto.evaluate import Trial


@dataclass(frozen=True)
class Budget:
    """How far a quantized graph may be from the float one, and what to save within that.

    The defaults come from what they mean for the word error rate. Disagreement is the word error rate
    against the float graph's own transcripts, and the true rate cannot move by more; since the words that
    change are mostly those that were wrong or doubtful already, and change in either direction, it moves by
    a small part of it. It is counted in words, of which a few minutes of speech have a few hundred: one
    word weighs a third of a percent, so that a limit tighter than 1 % would be decided by chance. KL sees
    every frame and is the finer measure: int8 files of healthy students are at 0.0001 to 0.0003 nats a frame,
    4-bit ones, which change several words in a hundred, at 0.001 to 0.01.

    Attributes:
        max_kl: mean over frames of KL(fp32 ‖ quantized) [nats].
        max_disagreement: word error rate against the fp32 graph's transcripts. One word is always allowed,
            unless this is 0: with less than a hundred words 1 % would mean none at all.
        prefer: `speed` takes the graph with the most weights in integer products of 8 bits, and of those the
            closest one; `size` the one of fewest bytes, down to ternary weights, which is as fast.
        max_bytes: of the file: the closest graph that has no more is taken, however far from the float one
            it is, and the other limits are not looked at.
    """

    max_kl: float = 0.001
    max_disagreement: float = 0.01
    prefer: Preference = "speed"
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_kl", self.max_kl), ("max_disagreement", self.max_disagreement)):
            if not value >= 0:
                raise ConfigError(f"{name} must be 0 or more, found {value}")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be 1 or more, found {self.max_bytes}")

    def allows(self, trial: Trial) -> bool:
        """Tell whether a trial keeps to the budget."""
        if self.max_bytes is not None:
            return trial.bytes <= self.max_bytes
        text = trial.text
        allowed = max(1.0, self.max_disagreement * text.words) if self.max_disagreement else 0.0
        return trial.kl <= self.max_kl and text.errors <= allowed

    def order(self, trial: Trial) -> tuple[float, float, str]:
        """Return what the best trial has the least of."""
        if self.max_bytes is not None:
            return (trial.kl, trial.bytes, trial.name)
        if self.prefer == "size":
            return (trial.bytes, trial.kl, trial.name)
        return (trial.slow_weights, trial.kl, trial.name)


@dataclass
class Search:
    """What was tried and what came of it.

    Attributes:
        chosen: the best trial within the budget; None where no graph with quantized layers keeps to it.
        trials: whole graphs, in the order in which they were tried.
        costs: KL of each layer when it alone is int8 [nats].
    """

    budget: Budget
    chosen: Trial | None = None
    trials: list[Trial] = field(default_factory=list)
    costs: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json; layers that cost the most come first."""
        return {
            "budget": {
                "max_kl": self.budget.max_kl,
                "max_disagreement": self.budget.max_disagreement,
                "prefer": self.budget.prefer,
                "max_bytes": self.budget.max_bytes,
            },
            "chosen": self.chosen and self.chosen.name,
            "widths": self.chosen
            and {node: width.name for node, width in self.chosen.assignment.widths.items()},
            "tried": [
                {
                    "name": trial.name,
                    "bytes": trial.bytes,
                    "kl": float(f"{trial.kl:.6g}"),
                    "disagreement": float(f"{trial.text.disagreement:.6g}"),
                    "within_budget": self.budget.allows(trial),
                }
                for trial in self.trials
            ],
            "cost_alone": {
                name: float(f"{cost:.4g}") for name, cost in sorted(self.costs.items(), key=lambda c: -c[1])
            },
        }
