"""Names of models on the Hugging Face hub. They begin with `hf:`, so that a mistyped path never asks the network."""

from __future__ import annotations

import re

HUB = "hf:"
_PART = r"\w[\w.-]*"


def hub_id(name: str, *, bare: bool = False) -> str | None:
    """The id on the hub that a name means, such as `owner/name` of `hf:owner/name`; None where it means a path.

    Args:
        name: of a model that is not a directory.
        bare: does a name without a folder, such as `gpt2`, mean the hub too?
    """
    if name.startswith(HUB):
        given = name.removeprefix(HUB)
        return given if re.fullmatch(rf"{_PART}(/{_PART})?", given) else None
    return name if bare and re.fullmatch(_PART, name) else None


def hub_hint(name: str) -> str:
    """How to ask the hub for a name that is no directory here, as the end of a remedy."""
    id_like = re.fullmatch(rf"{_PART}/{_PART}", name)
    return f"for the model hub write {HUB}{name if id_like else 'owner/name'}"
