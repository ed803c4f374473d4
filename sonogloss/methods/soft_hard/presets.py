"""Whole plans of a training of soft and hard prompts: as released, and what learned best on the pocket models."""

from __future__ import annotations

from sonogloss.methods.base import ClapIdentity
from sonogloss.methods.plan import MapperSettings, TrainingPlan, own_decode, own_training
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.methods.soft_hard.settings import RELEASED_DECODE, SoftHardSettings
from sonogloss.training.config import TrainingConfig


def paper(*, captions: int, clap: ClapIdentity, parameters: int) -> TrainingPlan:
    """The released hyper-parameters (arXiv 2406.06295), counted in epochs of `captions`.

    The number of labels and the masking are those of the released self-test, as their flags are 0 by default; the
    variance of the noise was not published, and is the smallest that the methods it builds on use. The released script
    stops after 9,000 steps, in the middle of the schedule; this is the whole schedule.
    """
    epoch = max(1, captions // 40)
    return TrainingPlan(
        training=TrainingConfig(
            steps=15 * epoch,
            batch_size=40,
            learning_rate=1e-5,
            warmup_steps=5 * epoch,
            tune="all",
            precision="float32",
            seed=0,
            eval_every=600,
            checkpoint_every=600,
        ),
        settings=SoftHardSettings(noise_variance=0.001),
        prompt=SoftHardPrompt(),
        mapper=MapperSettings(kind="mlp"),
        projection=None,
        decode=RELEASED_DECODE,
    )


def own(*, captions: int, clap: ClapIdentity, parameters: int) -> TrainingPlan:
    """Our defaults; the width of the CLAP decides how much noise leaves a cosine of about 0.92."""
    return TrainingPlan(
        training=own_training(captions, parameters),
        settings=SoftHardSettings(noise_variance=round(0.192 / clap.dim, 7)),
        prompt=SoftHardPrompt(max_answer_tokens=40),
        mapper=MapperSettings(kind="mlp"),
        projection=None,
        decode=own_decode(RELEASED_DECODE),
    )
