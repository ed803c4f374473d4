"""Whose checkpoint is this? Layouts that can be converted, by the names of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sonogloss.clap.checkpoint import Checkpoint, unusable
from sonogloss.clap.laion_checkpoint import read_laion
from sonogloss.clap.msclap_checkpoint import read_msclap
from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import TorchFile
from sonogloss.clap.wavcaps_checkpoint import read_wavcaps
from sonogloss.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the weights of one family are named.

    Attributes:
        title: for people.
        parts: what names of its weights begin with; one without a final dot is a whole name.
        read: the model in the weights.
    """

    title: str
    parts: tuple[str, ...]
    read: Callable[[Mapping[str, StoredTensor], TorchFile], Checkpoint]

    def missing(self, names: Mapping[str, Any]) -> list[str]:
        """The parts that no name begins with."""
        return [part for part in self.parts if not any(_fits(name, part) for name in names)]


LAYOUTS: Mapping[str, Layout] = {
    "laion": Layout(
        title="LAION",
        parts=("audio_branch.", "text_branch.", "audio_projection.", "text_projection.", "logit_scale_a"),
        read=read_laion,
    ),
    "wavcaps": Layout(
        title="WavCaps (ASE)",
        parts=("audio_encoder.audio_enc.", "text_encoder.text_encoder.", "audio_proj.", "text_proj.", "temp"),
        read=read_wavcaps,
    ),
    "msclap": Layout(
        title="MS-CLAP",
        parts=(
            "audio_encoder.base.",
            "audio_encoder.projection.",
            "caption_encoder.base.",
            "caption_encoder.projection.",
            "logit_scale",
        ),
        read=read_msclap,
    ),
}


def read_checkpoint(file: TorchFile, layout: str = "auto") -> Checkpoint:
    """The model in an open checkpoint.

    Args:
        file: whose content is a state dict, or holds one as `state_dict` or `model`.
        layout: one of :data:`LAYOUTS`, or `auto` for the one that its names fit.

    Raises:
        ModelFormatError: it is of no layout known here, or incomplete.
        OptionError: it is of another layout than the one named.
    """
    weights = _weights(file.content)
    missing = {name: known.missing(weights) for name, known in LAYOUTS.items()}
    found = next((name for name, parts in missing.items() if not parts), None)
    if found is None:
        nearest = max(LAYOUTS, key=lambda name: len(LAYOUTS[name].parts) - len(missing[name]))
        known = LAYOUTS[nearest]
        why = "it holds no weights of a CLAP of a known layout"
        if len(missing[nearest]) < len(known.parts):
            why += f"; the nearest is {known.title}, and nothing in it is named {missing[nearest][0]!r}"
        raise unusable(why)
    if layout not in ("auto", found):
        raise OptionError(
            f"The checkpoint is one of {LAYOUTS[found].title}, not of {LAYOUTS[layout].title}.",
            f"Name it `{found}:CKPT`, or convert it with --layout {found}.",
        )
    return LAYOUTS[found].read(weights, file)


def _weights(content: Any) -> dict[str, StoredTensor]:
    """The tensors of the model; the prefix `module.` of training on several devices is removed from the names."""
    state = content
    if isinstance(content, dict):
        state = next((content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)), content)
    weights = {str(k): v for k, v in state.items() if isinstance(v, StoredTensor)} if isinstance(state, dict) else {}
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    return weights


def _fits(name: str, part: str) -> bool:
    return name.startswith(part) if part.endswith(".") else name == part
