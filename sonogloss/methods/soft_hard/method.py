"""Soft and hard prompts, registered."""

from __future__ import annotations

from sonogloss.methods.labels import embed_labels
from sonogloss.methods.plan import MethodTraining
from sonogloss.methods.registry import Method
from sonogloss.methods.soft_hard.presets import own, paper
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.methods.soft_hard.settings import RELEASED_DECODE, SoftHardSettings

METHOD = Method(
    name="soft-hard",
    captioner="sonogloss.methods.soft_hard.captioner:SoftHardCaptioner",
    prompt=SoftHardPrompt,
    decode=RELEASED_DECODE,
    embed_labels=embed_labels,
    training=MethodTraining(
        settings=SoftHardSettings,
        examples="sonogloss.methods.soft_hard.examples:make_examples",
        presets={"own": own, "paper": paper},
    ),
    card="""# A captioner of soft and hard prompts

It captions sound with a decoder that learned from text alone: the sounds nearest to an audio embedding of CLAP `{clap}`
are named in a hard prompt, the embedding is mapped to a soft prompt behind it, and a language model continues both.
""",
)
