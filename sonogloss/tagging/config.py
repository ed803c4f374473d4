"""The numbers of prompt tuning. Nothing heavy is imported here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sonogloss.later_fields import LATER
from sonogloss.training.config import check_settings

TEMPERATURE = 0.10
"""Of the softmax over words or frames in the fine score."""


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """How prompts are tuned: as in the released code of arXiv 2309.08357, except for `noise_cosine` and `keep`.

    Args:
        slots: learned vectors in front of a label, in each of the two sets.
        epochs: passes over the texts; the prompts of the best epoch on held-out texts are kept.
        steps: optimizer steps, instead of whole epochs.
        batch_size: texts a step.
        learning_rate, betas, eps, weight_decay: AdamW's; the learning rate is constant.
        initial: words that the vectors begin with, repeated to fill the slots; empty for noise.
        initial_std: standard deviation of that noise.
        multi_label: a text may name several labels: ranking loss instead of cross-entropy.
        temperature: of the softmax over words in the fine score.
        noise_cosine: mean cosine between the embedding of a text or word and its noisy copy, new in every step; 1 adds
            no noise, as released. Audio lies beside text in a CLAP's space, so prompts that fit texts exactly fit audio
            worse, most of all with labels that they were not learned on.
        keep: weight of the loss that keeps other words where they are (:mod:`~sonogloss.tagging.features`); 0 as
            released.
        compat: as the released code computes it, mistakes included: vectors pass the embedding layer twice, and padding
            keeps a weight in the fine score. Prompts remember how they were learned.
        held_out: share of each label's texts for choosing the epoch.
        seed: of everything random.
    """

    slots: int = 32
    epochs: int = 10
    steps: int | None = None
    batch_size: int = 24
    learning_rate: float = 0.002
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    initial: str = ""
    initial_std: float = 0.02
    multi_label: bool = False
    temperature: float = TEMPERATURE
    noise_cosine: float = 0.85
    keep: float = 8.0
    held_out: float = 0.1
    seed: int = 1234
    compat: bool = field(default=False, metadata=LATER)

    def noise_std(self, dim: int) -> float:
        """Standard deviation of the noise on each of so many dimensions of a unit embedding."""
        return math.sqrt((self.noise_cosine**-2 - 1) / dim)

    def __post_init__(self) -> None:
        rules = {
            "steps": self.steps is None or self.steps >= 1,
            "learning_rate": self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "betas": len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "eps": self.eps > 0,
            "temperature": self.temperature > 0,
            "noise_cosine": 0 < self.noise_cosine <= 1,
            "held_out": 0 < self.held_out < 1,
            "seed": self.seed >= 0,
        }
        check_settings(self, rules)
