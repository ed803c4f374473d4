"""The numbers of a post-training run. Nothing heavy is imported here."""

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
    """How much each kind of negative and each block counts.

    Attributes:
        alpha_same: weight, in the softmax's denominator, of the same sample in another order; 0 removes it.
        alpha_cross: weight of other samples in another order; 0 removes them.
        beta: weight of the rows of every block but the first, in a weighted mean over all rows.
        weight: the whole loss is multiplied by this (lambda).
        released: compute as the released code does instead of as the equations stand. It takes embeddings as they are
            and without a temperature (the caller's part, see :attr:`normalised`), adds log(alpha + 1e-8), which for
            alpha 0 is -18.4 and not a removal, and begins to weight with beta at row B // 2 (two blocks) or
            B // 3 (three), so that it hits positives of the first block.

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
        """Are rows to be unit vectors, and cosines to be divided by the CLAP's temperature?"""
        return not self.released


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How two clips become one.

    Attributes:
        crossfade_s: seconds over which the first clip of a sequence gives way to the second, at equal power; at most
            half of the shorter clip.
        level_db: RMS level in dB below full scale that every clip is brought to before; None leaves them as they are.
        overlay_db: level of B in an overlay, relative to A.
        relations: words between the classes. `before` says "A before B" of a forward clip, `after` says "B after A" of
            the same; with both, the group's id decides. `while` says "A while B" of an overlay. The released data have
            before and while only.
        wording: `published` says these words only, `varied` also others of the same meaning, and begins some sentences
            with "this is a sound of".

    Raises:
        OptionError: a value cannot be.
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
                f"relations {', '.join(self.relations) or 'none'} cannot tell the three variants apart.",
                "Give while, and before or after or both.",
            )
        if self.wording not in ("published", "varied"):
            raise OptionError(f"wording is {self.wording!r}.", "Give published or varied.")


@dataclass(frozen=True, kw_only=True)
class PostTrainConfig:
    """How a CLAP learns order.

    Attributes:
        stages: `A` (one sound or two?) and `B` (in which order?), in this order; either may be left out.
        steps: optimiser steps of each stage.
        groups: groups a step: stage A sees twice as many sounds, stage B three times.
        learning_rate: the highest learning rate.
        warmup_steps: steps over which it rises linearly from 0; then it falls to 0 along half a cosine.
        weight_decay: AdamW's, on matrices only.
        grad_clip: largest norm of the gradient; 0 does not clip.
        tune: train the `last` layers and the projections, or a `lora` adapter in all layers and the projections. The
            adapter is merged at the end.
        layers: how many of the audio tower's last stages learn.
        text_layers: how many of the text tower's last layers learn. Who comes first is told in two steps: a layer binds
            words to their places, the next one reads that.
        position_rate: how many times faster the audio tower's relative position biases learn than all else. They alone
            can tell what is heard early from what is heard late before it is averaged over time, and a CLAP brings them
            along nearly flat; at the common rate they are the last to move (docs/temporal.md).
        lora_rank, lora_alpha, lora_dropout: the adapter on the attention's query and value projections.
        anchor: weight of a term, mean of 1 - cosine, that holds single sounds and their labels where the CLAP had them.
        words: weight, in stage B, of TNCE between sentences and the same said in other words. It costs no sound: the
            text tower learns from text alone to tell orders apart, and the audio tower has something to follow. Without
            it both wait for each other for some hundred steps.
        gain_db: every clip of a pair becomes louder or softer by up to this, at random.
        precision: `float32`, `bfloat16`, or `auto` for what the hardware computes fast. The loss is always in float32.
        validation_share: share of the recordings that are not learnt from but looked at.
        seed: everything random follows from it and the step's number.
        eval_every: steps between two looks at the validation pairs.
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
            "steps": self.steps >= 1,
            "groups": self.groups >= 2,
            "learning_rate": self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "warmup_steps": self.warmup_steps >= 0,
            "weight_decay": self.weight_decay >= 0,
            "grad_clip": self.grad_clip >= 0,
            "tune": self.tune in ("last", "lora"),
            "layers": self.layers >= 1,
            "text_layers": self.text_layers >= 1,
            "position_rate": self.position_rate > 0 and math.isfinite(self.position_rate),
            "lora_rank": self.lora_rank >= 1,
            "anchor": self.anchor >= 0 and math.isfinite(self.anchor),
            "words": self.words >= 0 and math.isfinite(self.words),
            "gain_db": 0 <= self.gain_db <= 60,
            "precision": self.precision in ("auto", "float32", "bfloat16"),
            "validation_share": 0 <= self.validation_share < 1,
            "seed": self.seed >= 0,
            "eval_every": self.eval_every >= 1,
            "checkpoint_every": self.checkpoint_every >= 1,
        }
        check_settings(self, rules)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warmup = min(self.warmup_steps, self.steps - 1)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.steps - warmup)))
