"""A LAION checkpoint as transformers' ClapModel: its configuration, and the name of each weight.

LAION-CLAP (Wu et al., arXiv:2211.06687) and transformers' ClapModel are the same network under different names. Sizes
follow from the shapes of the weights, except for three: patches do not overlap, the attention heads of RoBERTa are 64
wide and the image is 256 x 256, in every published checkpoint.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import ClapConfig, ClapModel

from sonogloss.audio.mel import MelSettings, mel_filters
from sonogloss.clap.layouts import nearest_layout
from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import TorchFile
from sonogloss.errors import ModelFormatError

_REMEDY = "Name a LAION checkpoint with an HTSAT audio tower and a RoBERTa text tower."
_HEAD_WIDTH = 64
_SPEC_SIZE = 256
# The names of the towers in laion_clap, by width and depths.
_AMODELS = {(96, (2, 2, 6, 2)): "HTSAT-tiny", (128, (2, 2, 12, 2)): "HTSAT-base", (256, (2, 2, 12, 2)): "HTSAT-large"}
# From a name in ClapModel to one in the checkpoint, in this order.
_AUDIO_NAMES = (
    ("batch_norm.", "bn0."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.output.dense.", "attn.proj."),
    ("attention.self.", "attn."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
)
_PROJECTIONS = (("linear1.", "0."), ("linear2.", "2."))


@dataclass(frozen=True, kw_only=True, eq=False)
class LaionCheckpoint:
    """The weights of one checkpoint under LAION's names, and the model that follows from them.

    Attributes:
        weights: the tensors, not read yet.
        config: the ClapConfig of the same network.
        settings: the front end.
        fused: whether it was trained with feature fusion.
    """

    weights: Mapping[str, StoredTensor]
    config: Any
    settings: MelSettings
    fused: bool

    @property
    def amodel(self) -> str | None:
        """The name of the audio tower in laion_clap; None for one that it does not build."""
        audio = self.config.audio_config
        return _AMODELS.get((audio.patch_embeds_hidden_size, tuple(audio.depths)))

    def left_out(self) -> dict[str, int]:
        """Numbers of tensors that the model does not need, by module.

        These are heads for classification or training, tables of the front end, and masks that ClapModel makes itself.
        """
        used = {laion_name(name)[0] for name in _target_shapes(self.config)}
        return dict(Counter(_module(name) for name in self.weights if name not in used))

    def read_weights(self, file: TorchFile) -> dict[str, torch.Tensor]:
        """All weights of a ClapModel under its names, in the precision of the file.

        Raises:
            ModelFormatError: a weight is missing, or its shape does not fit the others.
        """
        shapes = _target_shapes(self.config)
        sources = {name: laion_name(name) for name in shapes}
        absent = sorted({own for own, _ in sources.values() if own not in self.weights and not _derived(own)})
        if absent:
            raise _unusable(f"it lacks {len(absent)} weights, {absent[0]!r} for one")
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
                raise _unusable(f"{own!r} has the shape {list(tensor.shape)} instead of {list(shape)}")
            result[name] = tensor
        return result


def find_weights(content: Any) -> dict[str, StoredTensor]:
    """The tensors of the model in the content of a checkpoint: its `state_dict`, or all of it.

    The prefix `module.` of training on several devices is removed from the names.

    Raises:
        ModelFormatError: there are none.
    """
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    weights = {str(k): v for k, v in state.items() if isinstance(v, StoredTensor)} if isinstance(state, dict) else {}
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    if "logit_scale_a" not in weights:
        nearest = nearest_layout(content)
        other = (
            f"; it looks like a checkpoint of {nearest}, which is not converted"
            if nearest not in (None, "LAION")
            else ""
        )
        raise _unusable(f"it holds no weights of a LAION CLAP{other}")
    return weights


def read_checkpoint(file: TorchFile) -> LaionCheckpoint:
    """The model in an open file.

    Raises:
        ModelFormatError: it is not a LAION CLAP, or one that ClapModel does not cover.
    """
    weights = find_weights(file.content)
    fused = "audio_branch.patch_embed.mel_conv2d.weight" in weights
    if any("mel_conv1d" in name or ".local_att2." in name for name in weights):
        raise _unusable("it does not fuse features by aff_2d, as the published ones do")
    config = _config(weights, fused=fused)
    filters = weights.get("audio_branch.logmel_extractor.melW")
    settings = _front_end(config.audio_config.num_mel_bins, filters)
    # The file holds the mel filters of its front end, which depend on everything but the hop. (Models with fusion were
    # trained with other filters, but their files hold these too.)
    if filters is not None:
        known = mel_filters(settings)
        if filters.shape != known.shape or not np.allclose(file.read(filters).float().numpy(), known, atol=1e-5):
            raise _unusable("its mel filters are not those of 48 kHz and 50 to 14,000 Hz")
    settings = replace(settings, filters="htk" if fused else "slaney")
    return LaionCheckpoint(weights=weights, config=config, settings=settings, fused=fused)


def laion_name(name: str) -> tuple[str, int | None]:
    """LAION's name of a weight of ClapModel, and which third of the tensor if three weights are stacked in it."""
    if name.startswith("text_model."):
        return name.replace("text_model.", "text_branch.", 1), None
    if name.startswith(("text_projection.", "audio_projection.")):
        return _replace(name, _PROJECTIONS), None
    prefix = "audio_model.audio_encoder."
    if not name.startswith(prefix):
        return name, None
    own = "audio_branch." + _replace(name.removeprefix(prefix), _AUDIO_NAMES)
    part = re.search(r"\.attn\.(query|key|value)\.", own)
    if part is None:
        return own, None
    return own.replace(part[0], ".attn.qkv."), ("query", "key", "value").index(part[1])


def _replace(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for theirs, own in rules:
        name = name.replace(theirs, own)
    return name


def _derived(own: str) -> bool:
    """Constants (positions 0, 1, 2 ... and token types 0), which a checkpoint may or may not hold."""
    return own.endswith(("embeddings.position_ids", "embeddings.token_type_ids"))


def _module(name: str) -> str:
    if ".blocks." in name:
        return "audio_branch.layers"
    return ".".join(name.split(".")[:2]) if name.startswith(("audio_branch.", "text_branch.")) else name.split(".")[0]


def _target_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = ClapModel(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _config(weights: Mapping[str, StoredTensor], *, fused: bool) -> Any:
    """The ClapConfig of these shapes."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in weights:
            raise _unusable(f"it lacks {name!r}")
        if len(weights[name].shape) != dimensions:
            raise _unusable(f"{name!r} has the shape {list(weights[name].shape)}")
        return weights[name].shape

    def count(pattern: str) -> int:
        found = {int(match[1]) for name in weights if (match := re.match(pattern, name))}
        return max(found, default=-1) + 1

    if not any(name.startswith("audio_branch.layers.") for name in weights):
        raise _unusable("its audio tower is not HTSAT")
    types = weights.get("text_branch.embeddings.token_type_embeddings.weight")
    if types is None or types.shape[0] != 1:  # BERT has two types, BART and the plain transformer none
        raise _unusable("its text tower is not RoBERTa")
    first = "audio_branch.layers.{}.blocks.0."
    stages = count(r"audio_branch\.layers\.(\d+)\.")
    tables = [shape(first.format(n) + "attn.relative_position_bias_table", 2) for n in range(stages)]
    embed_dim, _, patch, _ = shape("audio_branch.patch_embed.proj.weight", 4)
    vocabulary, width = shape("text_branch.embeddings.word_embeddings.weight", 2)
    fusion: dict[str, Any] = {"enable_fusion": fused, "fusion_type": "aff_2d" if fused else None}
    if fused:
        (inner, *_) = shape("audio_branch.patch_embed.fusion_model.local_att.0.weight", 4)
        fusion["aff_block_r"] = embed_dim // max(inner, 1)
    try:
        return ClapConfig(
            projection_dim=shape("audio_projection.2.weight", 2)[0],
            audio_config={
                "num_mel_bins": shape("audio_branch.bn0.weight", 1)[0],
                "spec_size": _SPEC_SIZE,
                "window_size": (round(tables[0][0] ** 0.5) + 1) // 2,  # a table has (2 w - 1)^2 rows
                "patch_size": patch,
                "patch_stride": [patch, patch],
                "patch_embeds_hidden_size": embed_dim,
                "hidden_size": shape("audio_branch.norm.weight", 1)[0],
                "depths": [count(rf"audio_branch\.layers\.{n}\.blocks\.(\d+)\.") for n in range(stages)],
                "num_attention_heads": [heads for _, heads in tables],
                "num_hidden_layers": stages,
                "mlp_ratio": float(shape(first.format(0) + "mlp.fc1.weight", 2)[0] / embed_dim),
                **fusion,
            },
            text_config={
                "vocab_size": vocabulary,
                "hidden_size": width,
                "num_hidden_layers": count(r"text_branch\.encoder\.layer\.(\d+)\."),
                "num_attention_heads": max(width // _HEAD_WIDTH, 1),
                "intermediate_size": shape("text_branch.encoder.layer.0.intermediate.dense.weight", 2)[0],
                "max_position_embeddings": shape("text_branch.embeddings.position_embeddings.weight", 2)[0],
                "layer_norm_eps": 1e-5,  # RoBERTa's; the default of ClapTextConfig is another
            },
        )
    except ModelFormatError:
        raise
    except Exception as error:  # transformers checks values in several ways, each with its own exception
        raise _unusable(f"its shapes do not fit together ({error})") from error


def _front_end(mel_bins: int, filters: StoredTensor | None) -> MelSettings:
    """The preprocessing of laion_clap: 48 kHz, ten seconds, a frame every 10 ms, samples cut to 16 bits."""
    return MelSettings(
        sample_rate=48_000,
        window_s=10.0,
        fft_size=2 * (filters.shape[0] - 1) if filters is not None and filters.shape[0] > 1 else 1024,
        hop_length=480,
        mel_bins=mel_bins,
        frequency_min=50.0,
        frequency_max=14_000.0,
        filters="slaney",
        padding="repeatpad",
        quantise="int16",
    )


def _unusable(why: str) -> ModelFormatError:
    return ModelFormatError(f"The checkpoint cannot be used: {why}.", _REMEDY)
