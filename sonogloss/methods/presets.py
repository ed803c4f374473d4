"""Whole sets of numbers for a training: as the papers' code was released, and as we found them to work.

Every number can be changed one by one; these are where one starts from. Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.training.config import DrcapSettings, SoftHardSettings, TrainingConfig

METHODS = ("drcap", "soft-hard")
_SMALL = 50_000_000  # parameters; a language model of so many learns as a whole, a larger one through an adapter
POCKET_BAND = (0.90, 0.97)
"""The band of the pocket CLAP, in which text neighbours are as right as what audio finds; every CLAP has its own."""


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """The mapper: its kind (`relu`, `mlp`, `transformer`) and sizes, of which each kind uses its own."""

    kind: Literal["relu", "mlp", "transformer"]
    hidden: int = 2048
    layers: int = 8
    heads: int = 8


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that a training is told, but for its texts and models."""

    training: TrainingConfig
    settings: DrcapSettings | SoftHardSettings
    prompt: ComposedPrompt | SoftHardPrompt
    mapper: Mapping


def paper(method: str, captions: int) -> Preset:
    """The released hyper-parameters.

    DRCap (arXiv 2410.09472) is complete. Of soft and hard prompts (arXiv 2406.06295) the number of labels and the
    masking are those of the released self-test, as their flags are 0 by default; the variance of the noise was not
    published, and is the smallest that the methods it builds on use. Its script stops after 9,000 steps, in the middle
    of the schedule; this is the whole schedule.

    Args:
        method: `drcap` or `soft-hard`.
        captions: how many there are to learn from: soft and hard prompts count in epochs.
    """
    if method == "drcap":
        return Preset(
            training=TrainingConfig(
                steps=40_000,
                batch_size=4,
                learning_rate=1e-5,
                warmup_steps=1_000,
                tune="lora",
                eval_every=1_000,
            ),
            settings=DrcapSettings(),
            prompt=ComposedPrompt(),
            mapper=Mapping(kind="relu"),
        )
    epoch = max(1, captions // 40)
    return Preset(
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
        mapper=Mapping(kind="mlp"),
    )


def own(method: str, captions: int, *, dim: int, parameters: int) -> Preset:
    """Our defaults, from what learnt best on the pocket models (`benchmarks/results`).

    Args:
        method: `drcap` or `soft-hard`.
        captions: how many there are to learn from: about three epochs, and not fewer than 300 steps.
        dim: width of the CLAP's embeddings, which decides how much noise leaves a cosine of about 0.92.
        parameters: of the language model.
    """
    steps = min(20_000, max(300, 3 * captions // 64))
    small = parameters <= _SMALL
    training = TrainingConfig(
        steps=steps,
        batch_size=64,
        learning_rate=1e-3 if small else 3e-4,
        warmup_steps=steps // 20,
        schedule="cosine",
        weight_decay=0.01,
        betas=(0.9, 0.98),
        grad_clip=1.0,
        tune="all" if small else "lora",
        eval_every=max(1, steps // 10),
        checkpoint_every=max(1, steps // 10),
    )
    if method == "drcap":
        return Preset(
            training=training,
            settings=DrcapSettings(redraw=True, context_dropout=0.25, noise_std_max=round(0.8 * dim**-0.5, 4)),
            prompt=ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}"),
            mapper=Mapping(kind="relu", hidden=512 if small else 2048),
        )
    return Preset(
        training=training,
        settings=SoftHardSettings(noise_variance=round(0.192 / dim, 7)),
        prompt=SoftHardPrompt(max_answer_tokens=40),
        mapper=Mapping(kind="mlp"),
    )
