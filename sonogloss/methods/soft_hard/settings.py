"""The numbers of soft and hard prompts (arXiv 2406.06295): their released search, and those of their training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.plan import Neighbours
from sonogloss.training.config import check_settings

RELEASED_DECODE = DecodeSettings(num_beams=3, max_new_tokens=67, scoring="average", stop=(".",))


@dataclass(frozen=True, kw_only=True)
class SoftHardSettings:
    """What soft and hard prompts learn from: mixed augmentation, and labels that are sometimes missing.

    How many labels a hard prompt names is a matter of the prompt, as captioning asks for as many. The cosine between an
    embedding and the same with noise of variance v in each of d dimensions is about 1 / sqrt(1 + d * v).
    """

    neighbours: int = field(
        default=5, metadata={"help": "an example takes the embedding of one of the N nearest captions; 1 is its own"}
    )
    mask: float = field(
        default=0.4, metadata={"help": "share of labels left out of hard prompts, 0 to 1", "metavar": "SHARE"}
    )
    noise_variance: float = field(
        default=0.0, metadata={"help": "variance of the noise on each dimension of a unit embedding; 0 adds none"}
    )
    contexts: ClassVar[int] = 0

    def __post_init__(self) -> None:
        rules = {
            "neighbours": self.neighbours >= 1,
            "mask": 0 <= self.mask <= 1,
            "noise_variance": self.noise_variance >= 0 and math.isfinite(self.noise_variance),
        }
        check_settings(self, rules)

    def mining(self, seed: int) -> Neighbours | None:
        """The nearest captions, whose embeddings an example may take."""
        return Neighbours(count=self.neighbours) if self.neighbours > 1 else None
