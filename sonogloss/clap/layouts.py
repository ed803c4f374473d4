"""Whose checkpoint is this? Published CLAPs by the names of their weights, for the message that refuses one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sonogloss.clap.pickle_data import StoredTensor

LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "LAION": ("audio_branch.", "text_branch.", "audio_projection.", "text_projection.", "logit_scale_a"),
    "WavCaps (ASE)": ("audio_encoder.", "text_encoder.", "audio_proj.", "text_proj.", "temp"),
    "MS-CLAP": ("audio_encoder.base.", "caption_encoder.base.", "caption_encoder.projection.", "logit_scale"),
}
"""What the weights of each begin with. Only LAION's are converted."""


def nearest_layout(content: Any) -> str | None:
    """The layout that the weights in a checkpoint fit best; None where they fit none in more than half of its parts."""
    names = [name.removeprefix("module.") for name in _weight_names(content)]
    fits = {
        layout: sum(any(name == part or _below(name, part) for name in names) for part in parts) / len(parts)
        for layout, parts in LAYOUTS.items()
    }
    best = max(fits, key=fits.__getitem__)
    return best if fits[best] > 0.5 else None


def _below(name: str, part: str) -> bool:
    return part.endswith(".") and name.startswith(part)


def _weight_names(content: Any) -> Iterable[str]:
    """The names of all tensors in nested dictionaries, each without the keys above its own dictionary."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(value, StoredTensor):
                yield str(name)
            else:
                yield from _weight_names(value)
