"""The numbers of a captioner's training. Nothing heavy is imported here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

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
            "learning_rate": self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "accumulation": 1 <= self.accumulation <= self.batch_size,
            "warmup_steps": 0 <= self.warmup_steps < self.steps,
            "betas": len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "grad_clip": self.grad_clip >= 0,
            "lora_dropout": 0 <= self.lora_dropout < 1,
            "lora_targets": not isinstance(self.lora_targets, str),
            "seed": self.seed >= 0,
        }
        check_settings(self, rules)

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * (1 - done if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))


def check_settings(settings: Any, rules: Mapping[str, bool]) -> None:
    """Refuse the first field of a dataclass that cannot be.

    Without a rule of its own, a whole number is at least 1, a number is finite and at least 0, and a literal is one of
    those that its type names.

    Raises:
        OptionError: there is such a field.
    """
    hints = get_type_hints(type(settings))
    for name, value in vars(settings).items():
        if not rules.get(name, _is_usual(value, hints[name])):
            raise OptionError(f"{name} is {value!r}.", "Choose a value that the documentation allows.")


def _is_usual(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    return not (hint is int and value < 1) and not (hint is float and not 0 <= value < math.inf)
