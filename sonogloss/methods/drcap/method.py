"""DRCap, registered."""

from __future__ import annotations

from sonogloss.methods.drcap.presets import own, paper
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.drcap.settings import RELEASED_CONTEXTS, RELEASED_DECODE, RELEASED_PROJECTION, DrcapSettings
from sonogloss.methods.plan import MethodTraining
from sonogloss.methods.registry import Method

METHOD = Method(
    name="drcap",
    captioner="sonogloss.methods.drcap.captioner:DrcapCaptioner",
    prompt=ComposedPrompt,
    decode=RELEASED_DECODE,
    contexts=RELEASED_CONTEXTS,
    projection=RELEASED_PROJECTION,
    training=MethodTraining(
        settings=DrcapSettings,
        examples="sonogloss.methods.drcap.examples:make_examples",
        presets={"own": own, "paper": paper},
    ),
    card="""# A DRCap captioner

It captions sound with a decoder that learned from text alone: an audio embedding of CLAP `{clap}` is carried onto a
text support, mapped to a soft prompt and continued by a language model that also reads retrieved captions.
""",
)
