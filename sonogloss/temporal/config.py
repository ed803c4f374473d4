"""The numbers of a post-training. Nothing heavy is imported here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sonogloss.errors import OptionError
from sonogloss.training.config import check_settings

STAGES = ("A", "B")
RELATIONS = ("before", "after", "while")


@dataclass(frozen=True, kw_only=True)
class TnceSettings:
    """Weights of the negatives and of the blocks (:mod:`~sonogloss.temporal.losses`).

    Attributes:
        alpha_same: weight of the same pair in another order in the denominator of the softmax; 0 removes it.
        alpha_cross: weight of other pairs in another order; 0 removes them.
        beta: weight of the rows of every block but the first, in a weighted mean over all rows.
        weight: factor of the whole loss (lambda).
        released: compute as the released code does, not as the equations say. It uses embeddings without normalization
            and temperature (:attr:`normalised`), adds log(alpha + 1e-8), which for alpha 0 is -18.4 and not a removal,
            and applies beta from row B // 2 (two blocks) or B // 3 (three) on, in the middle of the first block.

    Raises:
        OptionError: a weight is negative or not finite.
    """

    alpha_same: float = 1.0
    alpha_cross: float = 1.0
    beta: float = 1.0
    weight: float = 0.8
    released: bool = False

    def __post_init__(self) -> None:
        for name in ("alpha_same", "alpha_cross", "beta", "weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name} is {value!r}.", "Give a finite number of at least 0.")

    @property
    def normalised(self) -> bool:
        """Are rows normalized, and cosines divided by the CLAP's temperature?"""
        return not self.released


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How two clips become one.

    Attributes:
        crossfade_s: seconds of a crossfade at equal power in a sequence; at most half of the shorter clip.
        level_db: RMS level in dB below full scale that every clip is brought to first; None keeps their own.
        overlay_db: level of B in an overlay, in dB relative to A.
        relations: words between the classes: `before` ("A before B") and `after` ("B after A") for sequences, `while`
            for overlays. With both, the group's id decides. The released data have before and while only.
        wording: `published` uses these words only, `varied` also others of the same meaning, and begins some sentences
            with "this is a sound of".

    Raises:
        OptionError: a value cannot be used.
    """

    crossfade_s: float = 0.0
    level_db: float | None = None
    overlay_db: float = 0.0
    relations: tuple[str, ...] = RELATIONS
    wording: Literal["published", "varied"] = "varied"

    def __post_init__(self) -> None:
        if not 0 <= self.crossfade_s < math.inf:
            raise OptionError(f"crossfade_s is {self.crossfade_s!r}.", "Give seconds, 0 for none.")
        if self.level_db is not None and not -120 <= self.level_db <= 0:
            raise OptionError(f"level_db is {self.level_db!r}.", "Give decibels below full scale, -20 for one.")
        if not -60 <= self.overlay_db <= 60:
            raise OptionError(f"overlay_db is {self.overlay_db!r}.", "Give decibels, 0 for equal levels.")
        if unknown := sorted(set(self.relations) - set(RELATIONS)):
            raise OptionError(f"Unknown relation {unknown[0]!r}.", f"There are {', '.join(RELATIONS)}.")
        if not {"before", "after"} & set(self.relations) or "while" not in self.relations:
            raise OptionError(
                f"relations {', '.join(self.relations) or 'none'} do not distinguish the three variants.",
                "Give while, and before or after or both.",
            )
        if self.wording not in ("published", "varied"):
            raise OptionError(f"wording is {self.wording!r}.", "Give published or varied.")


@dataclass(frozen=True, kw_only=True)
class PostTrainConfig:
    """How a CLAP is post-trained.

    Attributes:
        stages: `A` (one sound or two?) and `B` (in which order?), in this order; either may be left out.
        steps: optimizer steps of each stage.
        groups: pairs a step; stage A has twice as many sounds, stage B three times.
        learning_rate: the highest learning rate.
        warmup_steps: steps over which it rises linearly from 0; then it falls to 0 along half a cosine.
        weight_decay: AdamW's, on matrices only.
        grad_clip: largest norm of the gradient; 0 does not clip.
        tune: train the projections and the `last` layers, or the projections and a `lora` adapter in all layers, which
            is merged at the end.
        layers: number of the audio tower's last stages that are trained.
        text_layers: number of the text tower's last layers that are trained. Order takes two: one layer binds words to
            positions, the next reads the result.
        position_rate: factor on the learning rate of the audio tower's relative position biases. Only they distinguish
            early from late before the mean over time, and in a CLAP they are nearly flat; at the common rate they
            change last (docs/temporal.md).
        lora_rank, lora_alpha, lora_dropout: the adapter on the attention's query and value projections.
        anchor: weight of a term, mean of 1 - cosine, that keeps single sounds and their labels where they were.
        words: weight, in stage B, of TNCE between sentences and their paraphrases. The text tower learns order from
            text alone and gives the audio tower a target; without it neither moves for some hundred steps.
        gain_db: largest random change of a clip's level.
        precision: `float32`, `bfloat16`, or `auto` for what the hardware computes fast. The loss is always in float32.
        validation_share: share of the recordings that are held out for validation.
        seed: of everything random, together with the number of the step.
        eval_every: steps between two validations.
        checkpoint_every: steps between two checkpoints.
        loss: weights of the negatives.
        pairs: how two clips become one.

    Raises:
        OptionError: a value cannot be.
    """

    stages: tuple[str, ...] = STAGES
    steps: int = 400
    groups: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    weight_decay: float = 0.0
    grad_clip: float = 0.5
    tune: Literal["last", "lora"] = "last"
    layers: int = 1
    text_layers: int = 2
    position_rate: float = 100.0
    lora_rank: int = 8
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    anchor: float = 1.0
    words: float = 1.0
    gain_db: float = 6.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    validation_share: float = 0.1
    seed: int = 1234
    eval_every: int = 50
    checkpoint_every: int = 100
    loss: TnceSettings = field(default_factory=TnceSettings)
    pairs: PairSettings = field(default_factory=PairSettings)

    def __post_init__(self) -> None:
        rules = {
            "stages": bool(self.stages) and list(self.stages) == [name for name in STAGES if name in self.stages],
            "groups": self.groups >= 2,
            "learning_rate": self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "warmup_steps": self.warmup_steps >= 0,
            "position_rate": self.position_rate > 0 and math.isfinite(self.position_rate),
            "gain_db": 0 <= self.gain_db <= 60,
            "validation_share": 0 <= self.validation_share < 1,
            "seed": self.seed >= 0,
        }
        check_settings(self, rules)

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warmup = min(self.warmup_steps, self.steps - 1)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.steps - warmup)))
