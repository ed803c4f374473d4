"""DRCap (arXiv 2410.09472), registered: released search and projection, numbers of the training, presets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.base import ClapIdentity, ProjectionSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.plan import (
    MapperSettings,
    MethodTraining,
    Neighbours,
    TrainingPlan,
    is_small,
    own_decode,
    own_training,
)
from sonogloss.methods.registry import Method
from sonogloss.training.config import TrainingConfig, check_settings

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
        decode=own_decode(RELEASED_DECODE, parameters),
    )


METHOD = Method(
    name="drcap",
    captioner="sonogloss.methods.drcap.captioner:DrcapCaptioner",
    prompt=ComposedPrompt,
    decode=RELEASED_DECODE,
    contexts=RELEASED_CONTEXTS,
    projection=RELEASED_PROJECTION,
    parity_prompt={"chat": False},
    training=MethodTraining(
        settings=DrcapSettings,
        examples="sonogloss.methods.drcap.examples:DrcapExamples",
        presets={"own": own, "paper": paper},
    ),
    card="""# A DRCap captioner

It captions sound with a decoder that learned from text alone: an audio embedding of CLAP `{clap}` is carried onto a
text support, mapped to a soft prompt and continued by a language model that also reads retrieved captions.
""",
)
