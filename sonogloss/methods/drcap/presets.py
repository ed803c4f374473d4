"""Whole plans of a DRCap training: as released, and what learned best on the pocket models."""

from __future__ import annotations

from dataclasses import replace

from sonogloss.methods.base import ClapIdentity, ProjectionSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.drcap.settings import RELEASED_DECODE, RELEASED_PROJECTION, DrcapSettings
from sonogloss.methods.plan import MapperSettings, TrainingPlan, is_small, own_decode, own_training
from sonogloss.training.config import TrainingConfig

POCKET_BAND = (0.90, 0.97)
"""The band of the pocket CLAP, in which text neighbours are as right as what audio finds; every CLAP has its own."""


def paper(*, captions: int, clap: ClapIdentity, parameters: int) -> TrainingPlan:
    """The released hyper-parameters (arXiv 2410.09472), which depend on nothing given here.

    The released code trains in float16 with a scaled loss; `auto` takes bfloat16, which needs no scale, where the
    hardware computes it fast.
    """
    return TrainingPlan(
        training=TrainingConfig(
            steps=40_000, batch_size=4, learning_rate=1e-5, warmup_steps=1_000, tune="lora", eval_every=1_000
        ),
        settings=DrcapSettings(),
        prompt=ComposedPrompt(),
        mapper=MapperSettings(kind="relu"),
        projection=RELEASED_PROJECTION,
        decode=RELEASED_DECODE,
    )


def own(*, captions: int, clap: ClapIdentity, parameters: int) -> TrainingPlan:
    """Our defaults; the width of the CLAP decides how much noise leaves a cosine of about 0.92."""
    settings = DrcapSettings(redraw=True, context_dropout=0.25, noise_std_max=round(0.8 * clap.dim**-0.5, 4))
    if clap.name == "pocket":
        settings = replace(settings, band=POCKET_BAND)
    return TrainingPlan(
        training=own_training(captions, parameters),
        settings=settings,
        prompt=ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}"),
        mapper=MapperSettings(kind="relu", hidden=512 if is_small(parameters) else 2048),
        projection=ProjectionSettings(),
        decode=own_decode(RELEASED_DECODE),
    )
