"""The numbers of DRCap (arXiv 2410.09472): its released search and projection, and those of its training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.base import ProjectionSettings
from sonogloss.methods.plan import Neighbours
from sonogloss.training.config import check_settings

RELEASED_CONTEXTS = 3
RELEASED_DECODE = DecodeSettings(num_beams=4, max_new_tokens=200, scoring="transformers")
RELEASED_PROJECTION = ProjectionSettings(temperature="clap", renormalise=False)
_RESERVE = 32  # from the band so many captions are sampled once; every epoch chooses its own among them


@dataclass(frozen=True, kw_only=True)
class DrcapSettings:
    """What DRCap shows its language model. The defaults are the released ones.

    The band imitates what *audio* finds: nearer captions would teach copying. The cosine between an embedding and the
    same with noise of standard deviation s in each of d dimensions is about 1 / sqrt(1 + d * s ** 2).
    """

    contexts: int = field(default=3, metadata={"help": "retrieved captions an example, sampled from the band"})
    band: tuple[float, float] = field(
        default=(0.75, 0.85),
        metadata={
            "help": "cosines LOW HIGH, both exclusive, between a caption and the datastore captions shown with it",
            "metavar": "C",
        },
    )
    redraw: bool = field(default=False, metadata={"help": "sample other contexts in every epoch"})
    context_dropout: float = field(
        default=0.0, metadata={"help": "share of examples without contexts, 0 to 1", "metavar": "SHARE"}
    )
    noise_std_max: float = field(
        default=0.0,
        metadata={"help": "largest standard deviation of the noise on each dimension of a unit embedding; 0 adds none"},
    )

    def __post_init__(self) -> None:
        rules = {
            "contexts": self.contexts >= 0,
            "band": len(self.band) == 2 and -1 <= self.band[0] < self.band[1],
            "context_dropout": 0 <= self.context_dropout <= 1,
            "noise_std_max": self.noise_std_max >= 0 and math.isfinite(self.noise_std_max),
        }
        check_settings(self, rules)

    @property
    def sampled(self) -> int:
        """How many captions of the band are sampled for each caption.

        Comparing all captions with the whole datastore is the costly part, and no run has more epochs than these give
        choices.
        """
        return max(_RESERVE, self.contexts) if self.redraw and self.contexts else self.contexts

    def mining(self, seed: int) -> Neighbours | None:
        """Contexts are sampled from the band."""
        return Neighbours(count=self.sampled, band=self.band, seed=seed) if self.contexts else None
