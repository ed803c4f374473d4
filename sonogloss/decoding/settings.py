"""Settings of beam search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from sonogloss.errors import OptionError
from sonogloss.later_fields import LATER

Scoring = Literal["transformers", "average"]


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """Beam search without sampling; the defaults are DRCap's.

    Args:
        num_beams: number of beams; 1 is greedy search.
        max_new_tokens: the longest caption in tokens, its end included.
        batch_size: prompts decoded together; results do not depend on it, memory does.
        scoring: which captions win. `transformers`: finished ones are set aside by their mean log-probability while
            that many unfinished beams go on (DRCap; what transformers' `generate` does). `average`: finished and
            unfinished ones compete by their mean log-probability (ClipCap, soft and hard prompts).
        stop: strings that end a caption besides the tokenizer's EOS; they stay in it.
        no_repeat_ngram: so many tokens in a row occur once in a caption; 0 for no such rule.
        magic: candidates of each beam that the CLAP weighs too, by a rule of its own in place of `scoring`; 0 for none.
            See :mod:`sonogloss.methods.magic`.
        magic_alpha: weight of the penalty on what says the same again.
        magic_beta: weight of the CLAP.
    """

    num_beams: int = 4
    max_new_tokens: int = 200
    batch_size: int = 16
    scoring: Scoring = "transformers"
    stop: tuple[str, ...] = ()
    no_repeat_ngram: int = field(default=0, metadata=LATER)
    magic: int = field(default=0, metadata=LATER)
    magic_alpha: float = field(default=0.1, metadata=LATER)
    magic_beta: float = field(default=0.2, metadata=LATER)

    def __post_init__(self) -> None:
        for name in ("num_beams", "max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}.", "Give 1 or more.")
        for name in ("no_repeat_ngram", "magic"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} is {getattr(self, name)}.", "Give 0 or more.")
        if self.scoring not in get_args(Scoring):
            raise OptionError(f"scoring is {self.scoring!r}.", f"Choose one of {', '.join(get_args(Scoring))}.")
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise OptionError(f"stop is {self.stop!r}.", "Give a list of strings of at least one character.")
        object.__setattr__(self, "stop", tuple(self.stop))  # JSON knows lists only
