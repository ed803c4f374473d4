"""How a caption is searched for."""

from __future__ import annotations

from dataclasses import dataclass

from sonogloss.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """Beam search without sampling; the defaults are DRCap's.

    Args:
        num_beams: beams; 1 is greedy search.
        max_new_tokens: the longest caption in tokens, its end included.
        batch_size: prompts decoded together; results do not depend on it, memory does.
    """

    num_beams: int = 4
    max_new_tokens: int = 200
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("num_beams", "max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}.", "Give 1 or more.")
