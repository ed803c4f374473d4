"""ZerAuCap, registered."""

from __future__ import annotations

from sonogloss.methods.registry import Method
from sonogloss.methods.zeraucap.prompt import KeywordPrompt, embed_keywords
from sonogloss.methods.zeraucap.settings import GuidedSettings

METHOD = Method(
    name="zeraucap",
    captioner="sonogloss.methods.zeraucap.captioner:ZerAuCapCaptioner",
    prompt=KeywordPrompt,
    decode=GuidedSettings(),
    parity={"compat": True},
    fast={"beta": 0.0},
    embed_labels=embed_keywords,
    card="""# A ZerAuCap captioner

It captions sound without having learned it: the keywords nearest to an audio embedding of CLAP `{clap}` are named to a
language model, and the CLAP chooses among the most probable next words.
""",
)
