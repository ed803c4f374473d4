"""A published CLAP checkpoint: its weights under its authors' names, and the model that follows from their shapes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import ClapModel

from sonogloss.audio.mel import MelSettings, mel_filters
from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import TorchFile
from sonogloss.clap.tower_clap import TowerClap
from sonogloss.clap.tower_config import TowerConfig
from sonogloss.errors import ModelFormatError

_REMEDY = "docs/clap-checkpoints.md lists the checkpoints that can be converted."
# The names of HTSAT's sizes in laion_clap, by width and depths.
_AMODELS: Mapping[tuple[int, tuple[int, ...]], str] = {
    (96, (2, 2, 6, 2)): "HTSAT-tiny",
    (128, (2, 2, 12, 2)): "HTSAT-base",
    (256, (2, 2, 12, 2)): "HTSAT-large",
}
_HEAD_WIDTH = 64  # of BERT, RoBERTa and GPT-2 in every published checkpoint
Source = tuple[str, int | None]
"""The authors' name of a weight, and which third of that tensor if three weights are stacked in it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """The weights of one checkpoint under its authors' names, and the model that follows from them.

    Attributes:
        layout: whose checkpoint it is.
        weights: the tensors, not read yet.
        config: of the same network here: a ClapConfig or a :class:`~sonogloss.clap.tower_config.TowerConfig`.
        settings: the front end.
        source: from the name of a weight here to the authors'.
        tokenizers: names on the model hub of the tokenizer it was trained with.
        max_tokens: where its authors cut texts.
        pad_token: of a tokenizer that has none of its own.
        temperature: the name of a tensor that holds the temperature itself; its scale is the inverse's logarithm.
    """

    layout: str
    weights: Mapping[str, StoredTensor]
    config: Any
    settings: MelSettings
    source: Callable[[str], Source]
    tokenizers: tuple[str, ...]
    max_tokens: int
    pad_token: str | None = None
    temperature: str | None = None

    @property
    def fused(self) -> bool:
        """Was it trained with feature fusion?"""
        return bool(self.config.audio_config.enable_fusion)

    @property
    def amodel(self) -> str | None:
        """The name of an HTSAT's size in laion_clap; None for one that it does not build."""
        audio = self.config.audio_config
        if audio.model_type == "cnn14":
            return None
        return _AMODELS.get((audio.patch_embeds_hidden_size, tuple(audio.depths)))

    @property
    def audio_tower(self) -> str:
        """The audio tower's name."""
        return "CNN14" if self.config.audio_config.model_type == "cnn14" else self.amodel or "HTSAT"

    @property
    def text_tower(self) -> str:
        """The text tower's name."""
        names = {"bert": "BERT", "gpt2": "GPT-2"}
        return names.get(self.config.text_config.model_type, "RoBERTa")

    def left_out(self) -> dict[str, int]:
        """Numbers of tensors that the model does not need, by module.

        These are heads for classification or training, tables of the front end, and masks that the model makes itself.
        """
        used = {self.source(name)[0] for name in target_shapes(self.config)} | {self.temperature}
        return dict(Counter(_module(name) for name in self.weights if name not in used))

    def read_weights(self, file: TorchFile) -> dict[str, torch.Tensor]:
        """All weights of the model under its names, in the precision of the file.

        Raises:
            ModelFormatError: a weight is missing, or its shape does not fit the others.
        """
        shapes = target_shapes(self.config)
        sources = {name: self.source(name) for name in shapes}
        absent = sorted({own for own, _ in sources.values() if own not in self.weights and not _derived(own)})
        if absent:
            raise unusable(f"it lacks {len(absent)} weights, {absent[0]!r} for one")
        result = {}
        for name, shape in shapes.items():
            own, third = sources[name]
            if _derived(own):
                numbers = torch.arange(shape[1]) if own.endswith("position_ids") else torch.zeros(shape[1]).long()
                result[name] = numbers.expand(shape).contiguous()
                continue
            tensor = file.read(self.weights[own])
            if third is not None:  # queries, keys and values are stacked
                tensor = tensor.chunk(3)[third].clone()
            if tuple(tensor.shape) != shape:
                raise unusable(f"{own!r} has the shape {list(tensor.shape)} instead of {list(shape)}")
            result[name] = -tensor.log() if own == self.temperature else tensor
        return result


class Sizes:
    """Sizes that follow from the shapes of weights."""

    def __init__(self, weights: Mapping[str, StoredTensor]) -> None:
        self._weights = weights

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a weight.

        Raises:
            ModelFormatError: it is not there, or has another number of dimensions.
        """
        if name not in self._weights:
            raise unusable(f"it lacks {name!r}")
        if len(self._weights[name].shape) != dimensions:
            raise unusable(f"{name!r} has the shape {list(self._weights[name].shape)}")
        return self._weights[name].shape

    def count(self, pattern: str) -> int:
        """How many layers there are: one more than the highest number that a pattern finds in a name."""
        found = {int(match[1]) for name in self._weights if (match := re.match(pattern, name))}
        return max(found, default=-1) + 1

    def encoder(self, prefix: str) -> dict[str, Any]:
        """Values of the configuration of a BERT or RoBERTa whose weights begin with a prefix."""
        vocabulary, width = self.shape(prefix + "embeddings.word_embeddings.weight", 2)
        return {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "num_hidden_layers": self.count(re.escape(prefix) + r"encoder\.layer\.(\d+)\."),
            "num_attention_heads": max(width // _HEAD_WIDTH, 1),
            "intermediate_size": self.shape(prefix + "encoder.layer.0.intermediate.dense.weight", 2)[0],
            "max_position_embeddings": self.shape(prefix + "embeddings.position_embeddings.weight", 2)[0],
            "type_vocab_size": self.shape(prefix + "embeddings.token_type_embeddings.weight", 2)[0],
        }

    def decoder(self, prefix: str) -> dict[str, Any]:
        """Values of the configuration of a GPT-2 whose weights begin with a prefix."""
        vocabulary, width = self.shape(prefix + "wte.weight", 2)
        return {
            "vocab_size": vocabulary,
            "n_embd": width,
            "n_layer": self.count(re.escape(prefix) + r"h\.(\d+)\."),
            "n_head": max(width // _HEAD_WIDTH, 1),
            "n_inner": self.shape(prefix + "h.0.mlp.c_fc.weight", 2)[1],
            "n_positions": self.shape(prefix + "wpe.weight", 2)[0],
        }


def target_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """The weights of a model, by its own names."""
    with torch.device("meta"):
        model = TowerClap(config) if isinstance(config, TowerConfig) else ClapModel(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def check_filters(file: TorchFile, filters: StoredTensor | None, settings: MelSettings) -> None:
    """The mel filters in a file, which depend on everything of a front end but its hop, must be those expected.

    Raises:
        ModelFormatError: they are others.
    """
    if filters is None:
        return
    known = mel_filters(settings)
    if filters.shape != known.shape or not np.allclose(file.read(filters).float().numpy(), known, atol=1e-5):
        raise unusable(
            f"its mel filters are not those of {settings.filter_rate or settings.sample_rate:,} Hz and "
            f"{settings.frequency_min:g} to {settings.frequency_max:,.0f} Hz"
        )


def unusable(why: str) -> ModelFormatError:
    """The error of a checkpoint that cannot be converted."""
    return ModelFormatError(f"The checkpoint cannot be used: {why}.", _REMEDY)


def rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    """A name with each part replaced, in the order of the rules."""
    for theirs, own in rules:
        name = name.replace(theirs, own)
    return name


def _derived(own: str) -> bool:
    """Constants (positions 0, 1, 2 ... and token types 0), which a checkpoint may or may not hold."""
    return own.endswith(("embeddings.position_ids", "embeddings.token_type_ids"))


def _module(name: str) -> str:
    """The module that a weight belongs to, for counting."""
    if ".blocks." in name:
        return name.split(".layers.")[0] + ".layers"
    parts = name.split(".")
    depth = 2 if parts[0] in ("audio_branch", "text_branch") else 3 if "encoder" in parts[0] else 1
    return ".".join(parts[: min(depth, max(len(parts) - 1, 1))])
