"""Soft and hard prompts (arXiv 2406.06295), registered: released search, numbers of the training, presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.base import ClapIdentity
from sonogloss.methods.labels import embed_labels
from sonogloss.methods.plan import MapperSettings, MethodTraining, Neighbours, TrainingPlan, own_decode, own_training
from sonogloss.methods.registry import Method
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.training.config import TrainingConfig, check_settings

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
        check_settings(self, {"mask": 0 <= self.mask <= 1})

    def mining(self, seed: int) -> Neighbours | None:
        """The nearest captions, whose embeddings an example may take."""
        return Neighbours(count=self.neighbours) if self.neighbours > 1 else None


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
        decode=own_decode(RELEASED_DECODE, parameters),
    )


METHOD = Method(
    name="soft-hard",
    captioner="sonogloss.methods.soft_hard.captioner:SoftHardCaptioner",
    prompt=SoftHardPrompt,
    decode=RELEASED_DECODE,
    embed_labels=embed_labels,
    parity_prompt={"chat": False},
    training=MethodTraining(
        settings=SoftHardSettings,
        examples="sonogloss.methods.soft_hard.examples:SoftHardExamples",
        presets={"own": own, "paper": paper},
    ),
    card="""# A captioner of soft and hard prompts

It captions sound with a decoder that learned from text alone: the sounds nearest to an audio embedding of CLAP `{clap}`
are named in a hard prompt, the embedding is mapped to a soft prompt behind it, and a language model continues both.
""",
)
