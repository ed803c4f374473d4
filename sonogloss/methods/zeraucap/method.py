"""ZerAuCap (arXiv 2311.08396), registered, and how a caption is searched for when a CLAP guides a language model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sonogloss.errors import OptionError
from sonogloss.later_fields import LATER
from sonogloss.methods.registry import Method
from sonogloss.methods.zeraucap.prompt import KeywordPrompt, embed_keywords


@dataclass(frozen=True, kw_only=True)
class GuidedSettings:
    """Guided greedy search; the defaults are ZerAuCap's (Salewski et al. 2023, section 3).

    A candidate's score is `(1 - alpha) * p - alpha * repetition + beta * f`: its probability, how much its hidden state
    repeats an earlier one, and how well the text so far with it fits the sound among all candidates.

    Args:
        alpha: above 0 every candidate needs a pass of the language model.
        text_tokens: how many of a caption's last tokens are compared with the sound.
        batch_size: captions that advance together; results do not depend on it.
        compat: the released code applies the penalty at the ending token's rank by score, counted in the order of
            probability, and so at times to a token that ends nothing.
    """

    candidates: int = field(default=45, metadata={"help": "next tokens that compete (m)", "metavar": "M"})
    alpha: float = field(default=0.0, metadata={"help": "weight of the repetition penalty, 0 to 1"})
    beta: float = field(
        default=0.5, metadata={"help": "weight of the CLAP's guidance; with 0 a caption depends on its prompt alone"}
    )
    kappa: float = field(default=10.0, metadata={"help": "sharpness of the softmax over the candidates' similarities"})
    gamma: float = field(
        default=0.1, metadata={"help": "the score of a token that ends a caption is multiplied by X * t at step t"}
    )
    max_tokens: int = field(
        default=78,
        metadata={
            "help": "tokens of BOS, prompt and caption together, in place of --max-new-tokens",
            "default": "none; the released system has 78",
        },
    )
    max_new_tokens: int = field(
        default=0,
        metadata=LATER | {"help": "tokens of a caption, however long its prompt is", "default": "40"},
    )
    no_repeat_ngram: int = field(
        default=0,
        metadata=LATER | {"help": "no N tokens in a row occur twice in a caption; 0 for no such rule", "default": "3"},
    )
    text_tokens: int = 77
    batch_size: int = 64
    compat: bool = field(default=False, metadata={"help": "apply the end penalty as the released code does"})

    def __post_init__(self) -> None:
        for name in ("candidates", "max_tokens", "text_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}.", "Give 1 or more.")
        for name in ("max_new_tokens", "no_repeat_ngram"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} is {getattr(self, name)}.", "Give 0 or more.")
        for name in ("beta", "kappa", "gamma"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise OptionError(f"{name} is {getattr(self, name)}.", "Give zero or a positive number.")
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha is {self.alpha}.", "Give a number from 0 to 1.")


METHOD = Method(
    name="zeraucap",
    captioner="sonogloss.methods.zeraucap.captioner:ZerAuCapCaptioner",
    prompt=KeywordPrompt,
    decode=GuidedSettings(),
    parity={"compat": True},
    parity_prompt={
        "keyword_cosine": 1.0,
        "system": "",
        "bos": True,
        "mend_blank": False,
        "chat": False,
        "examples": (),
    },
    suit="sonogloss.methods.zeraucap.suit:suit",
    fast={"beta": 0.0},
    embed_labels=embed_keywords,
    card="""# A ZerAuCap captioner

It captions sound without having learned it: the keywords nearest to an audio embedding of CLAP `{clap}` are named to a
language model, and the CLAP chooses among the most probable next words.
""",
)
