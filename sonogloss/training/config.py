"""The numbers of a text-only training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sonogloss.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class DrcapTrainingConfig:
    """How DRCap's mapper and language model learn.

    Args:
        steps: optimiser steps.
        batch_size: captions a step.
        learning_rate: the highest learning rate.
        warmup_steps: steps over which it rises linearly from 0.
        schedule: how it falls from there to 0 at `steps`.
        weight_decay: AdamW's, on matrices only.
        betas: AdamW's.
        grad_clip: largest norm of the gradient; 0 does not clip.
        contexts: retrieved captions an example, drawn from the band.
        band: cosines (low, high), both exclusive, between a caption and the datastore captions shown with it. The band
            imitates what *audio* finds; nearer captions would teach copying.
        redraw: draw new contexts in every epoch (the released system draws once).
        context_dropout: share of examples shown without retrieved captions, so that one model serves both cases.
        noise_std_max: the standard deviation of Gaussian noise added to each dimension of a unit embedding is drawn
            uniformly from 0 to this, the sum is re-normalised; 0 adds none. The remaining cosine is about
            1 / sqrt(1 + dim * std ** 2).
        tune: train `all` weights of the language model, a `lora` adapter, or `none` (the mapper always learns).
        lora_rank, lora_alpha, lora_dropout: the adapter on the attention's query and value projections.
        precision: `fp32`, or `bf16` autocast with the loss in fp32.
        seed: everything random follows from it and the step's number.
        eval_every: steps between two looks at the validation loss.
        checkpoint_every: steps between two checkpoints.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 0
    schedule: Literal["linear", "cosine"] = "linear"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    grad_clip: float = 0.0
    contexts: int = 3
    band: tuple[float, float] = (0.75, 0.85)
    redraw: bool = False
    context_dropout: float = 0.0
    noise_std_max: float = 0.0
    tune: Literal["all", "lora", "none"] = "all"
    lora_rank: int = 8
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 1234
    eval_every: int = 1000
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        rules = {
            "steps": self.steps >= 1,
            "batch_size": self.batch_size >= 1,
            "learning_rate": self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "warmup_steps": 0 <= self.warmup_steps < self.steps,
            "schedule": self.schedule in ("linear", "cosine"),
            "weight_decay": self.weight_decay >= 0,
            "betas": len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "grad_clip": self.grad_clip >= 0,
            "contexts": self.contexts >= 0,
            "band": len(self.band) == 2 and -1 <= self.band[0] < self.band[1],
            "context_dropout": 0 <= self.context_dropout <= 1,
            "noise_std_max": self.noise_std_max >= 0 and math.isfinite(self.noise_std_max),
            "tune": self.tune in ("all", "lora", "none"),
            "lora_rank": self.lora_rank >= 1,
            "precision": self.precision in ("fp32", "bf16"),
            "seed": self.seed >= 0,
            "eval_every": self.eval_every >= 1,
            "checkpoint_every": self.checkpoint_every >= 1,
        }
        for name, holds in rules.items():
            if not holds:
                raise OptionError(
                    f"{name} is {getattr(self, name)!r}.", "Choose a value that the documentation allows."
                )

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * (1 - done if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))


PAPER = DrcapTrainingConfig(
    steps=40_000,
    batch_size=4,
    learning_rate=1e-5,
    warmup_steps=1_000,
    schedule="linear",
    contexts=3,
    band=(0.75, 0.85),
    tune="lora",
    precision="bf16",
)
"""The released DRCap training (which autocasts to fp16 where this does to bf16)."""
