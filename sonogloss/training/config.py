"""The numbers of a captioner's training. Nothing heavy is imported here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sonogloss.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a mapper and a language model are trained, whatever the method.

    Args:
        steps: optimizer steps.
        batch_size: captions a step, over all its parts and all processes.
        learning_rate: the highest learning rate.
        accumulation: parts that a batch is computed in, one after the other; the gradient is that of the whole batch.
        warmup_steps: steps over which the learning rate rises linearly from 0.
        schedule: how it falls to 0 afterwards.
        weight_decay: AdamW's, on matrices only.
        betas: AdamW's.
        grad_clip: largest norm of the gradient; 0 does not clip.
        tune: train `all` weights of the language model, a `lora` adapter, or `none`; the mapper is always trained.
        lora_rank, lora_alpha, lora_dropout: the adapter's.
        lora_targets: names of the adapted modules; empty means the query and value projections.
        precision: `float32`, `bfloat16`, `float16` (on a GPU, with a scaled loss), or `auto` for what the hardware
            computes fast (:func:`~sonogloss.training.precision.choose_precision`). The loss is always in float32.
        seed: of everything random, together with the number of the step.
        eval_every: steps between two validations.
        checkpoint_every: steps between two checkpoints.
    """

    steps: int
    batch_size: int
    learning_rate: float
    accumulation: int = 1
    warmup_steps: int = 0
    schedule: Literal["linear", "cosine"] = "linear"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    grad_clip: float = 0.0
    tune: Literal["all", "lora", "none"] = "all"
    lora_rank: int = 8
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_targets: tuple[str, ...] = ()
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 1234
    eval_every: int = 1000
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        rules = {
            "steps": self.steps >= 1,
            "batch_size": self.batch_size >= 1,
            "learning_rate": self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "accumulation": 1 <= self.accumulation <= self.batch_size,
            "warmup_steps": 0 <= self.warmup_steps < self.steps,
            "schedule": self.schedule in ("linear", "cosine"),
            "weight_decay": self.weight_decay >= 0 and math.isfinite(self.weight_decay),
            "betas": len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "grad_clip": self.grad_clip >= 0,
            "tune": self.tune in ("all", "lora", "none"),
            "lora_rank": self.lora_rank >= 1,
            "lora_alpha": self.lora_alpha >= 1,
            "lora_dropout": 0 <= self.lora_dropout < 1,
            "lora_targets": not isinstance(self.lora_targets, str),
            "precision": self.precision in ("auto", "float32", "bfloat16", "float16"),
            "seed": self.seed >= 0,
            "eval_every": self.eval_every >= 1,
            "checkpoint_every": self.checkpoint_every >= 1,
        }
        check_settings(self, rules)

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * (1 - done if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))


def check_settings(settings: object, rules: Mapping[str, bool]) -> None:
    """Refuse the first field whose rule does not hold.

    Raises:
        OptionError: there is one.
    """
    for name, holds in rules.items():
        if not holds:
            raise OptionError(
                f"{name} is {getattr(settings, name)!r}.", "Choose a value that the documentation allows."
            )
