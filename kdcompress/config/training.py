"""How long and how fast to train."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from kdcompress.config.base import Frozen


class SpecAugmentConfig(Frozen):
    """Masks on the student's features only (Park et al. 2019, arXiv 1904.08779).

    Attributes:
        time_masks: number of masks along time.
        time_share: widest mask as a share of the utterance.
        band_masks: number of masks along mel bands.
        band_width: widest mask in bands.
        band_warp: largest stretch of the mel axis, as a share: other vocal tracts (Jaitly and Hinton 2013).
    """

    time_masks: int = Field(2, ge=0)
    time_share: float = Field(0.05, ge=0, lt=1)
    band_masks: int = Field(2, ge=0)
    band_width: int = Field(20, ge=0, le=80)
    band_warp: float = Field(0.0, ge=0, le=0.3)


class QuantizeConfig(Frozen):
    """Quantization-aware training: the student computes as its exported integer graph will.

    Attributes:
        bits: of a weight: what `kdcompress export --quantize int2` will keep of it.
    """

    bits: Literal[6, 4, 3, 2, "ternary"]


class TrainingConfig(Frozen):
    """The optimiser, its schedule and the loop.

    Attributes:
        steps: optimiser steps.
        start_from: run or checkpoint whose weights the student begins with: of the same vocabulary and shape,
            but it may have more layers (some are taken), and wider feed-forward modules (the units that
            explain most are kept, refitted) or narrower ones (new units add nothing at first), so it may be
            the teacher.
        optimizer: muon moves whole matrices along all their directions alike, and the rest as adamw does,
            which moves each number by itself. From random weights muon needs fewer steps; from
            others neither is ahead, and adamw takes less time. Left out, it is chosen accordingly.
        peak_lr: learning rate at the end of the warm-up; it decays to zero as a half cosine. Left
            out, it is 4e-3 with muon and 1e-3 with adamw.
        warmup_share: of the steps.
        weight_decay: on matrices; biases, norms and positions have none.
        clip: largest gradient norm.
        accumulate: batches per step; the gradient is that of one big batch, exactly.
        precision: auto takes bf16 on CUDA devices that have it.
        validate_every: steps between validations; each writes a checkpoint.
        checkpoint_minutes: a checkpoint is written at least so often, beside the training;
            None: at validations only.
        keep: checkpoints kept beside the best and the last.
        log_every: steps between lines of metrics.jsonl.
        teacher_memory_mb: keep the teacher's posteriors in memory when they fit in so many MB, so that it
            runs on each utterance once instead of once per epoch; 0 runs it on every batch.
        spec_augment: masks on the student's features.
        ema_decay: validate, keep and export a running average of the weights, in which the last step counts
            1 − ema_decay (Polyak and Juditsky 1992); None: the weights themselves.
        delay_ms: the student's audio begins up to so much later than the teacher's, at random: other runtimes
            cut their frames elsewhere, and less than a frame shift must not matter.
        quantize: round the student's linear layers as export will, so that it learns to make up for it. Begin
            with the weights of a trained run (`start_from`) and take a tenth of its steps; not with
            `ema_decay`.
    """

    steps: int = Field(20_000, ge=1)
    start_from: Path | None = None
    optimizer: Literal["muon", "adamw"] = "muon"
    peak_lr: float = Field(4e-3, gt=0)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    accumulate: int = Field(1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    validate_every: int = Field(500, ge=1)
    checkpoint_minutes: float | None = Field(15.0, gt=0)
    keep: int = Field(1, ge=0)
    log_every: int = Field(10, ge=1)
    teacher_memory_mb: float = Field(512.0, ge=0)
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    ema_decay: float | None = Field(None, gt=0, lt=1)
    delay_ms: float = Field(10.0, ge=0, le=40)
    quantize: QuantizeConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _rate_by_optimizer(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("optimizer") == "adamw":
            return {"peak_lr": 1e-3, **data}
        return data

    @model_validator(mode="after")
    def _averages_no_integers(self) -> Self:
        if self.quantize is not None and self.ema_decay is not None:
            raise ValueError("quantize keeps rounded weights, ema_decay averaged ones: leave one of them out")
        return self
