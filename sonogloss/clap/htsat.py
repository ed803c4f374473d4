"""HTSAT (Chen et al., arXiv:2202.00874) under its authors' names: every published CLAP but one hears with it.

transformers' ClapAudioModel is the same network. Sizes follow from the shapes of the weights, except for two: patches
do not overlap and the image is 256 x 256, in every published checkpoint.
"""

from __future__ import annotations

import re
from typing import Any

from sonogloss.clap.checkpoint import Sizes, Source, rename, unusable

MODEL_PREFIX = "audio_model.audio_encoder."
_SPEC_SIZE = 256
# From a name in ClapAudioModel to one in the checkpoint, in this order.
_NAMES = (
    ("batch_norm.", "bn0."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.output.dense.", "attn.proj."),
    ("attention.self.", "attn."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
)


def htsat_name(name: str, prefix: str) -> Source:
    """The authors' name of a weight of the audio tower, which begins with :data:`MODEL_PREFIX`."""
    own = prefix + rename(name.removeprefix(MODEL_PREFIX), _NAMES)
    part = re.search(r"\.attn\.(query|key|value)\.", own)
    if part is None:
        return own, None
    return own.replace(part[0], ".attn.qkv."), ("query", "key", "value").index(part[1])


def htsat_values(sizes: Sizes, prefix: str) -> dict[str, Any]:
    """Values of a ClapAudioConfig; those of feature fusion are missing.

    Raises:
        ModelFormatError: the audio tower is another one.
    """
    stages = sizes.count(re.escape(prefix) + r"layers\.(\d+)\.")
    if not stages:
        raise unusable("its audio tower is not HTSAT")
    first = prefix + "layers.{}.blocks.0."
    tables = [sizes.shape(first.format(n) + "attn.relative_position_bias_table", 2) for n in range(stages)]
    embed_dim, _, patch, _ = sizes.shape(prefix + "patch_embed.proj.weight", 4)
    return {
        "num_mel_bins": sizes.shape(prefix + "bn0.weight", 1)[0],
        "spec_size": _SPEC_SIZE,
        "window_size": (round(tables[0][0] ** 0.5) + 1) // 2,  # a table has (2 w - 1)^2 rows
        "patch_size": patch,
        "patch_stride": [patch, patch],
        "patch_embeds_hidden_size": embed_dim,
        "hidden_size": sizes.shape(prefix + "norm.weight", 1)[0],
        "depths": [sizes.count(re.escape(prefix) + rf"layers\.{n}\.blocks\.(\d+)\.") for n in range(stages)],
        "num_attention_heads": [heads for _, heads in tables],
        "num_hidden_layers": stages,
        "mlp_ratio": float(sizes.shape(first.format(0) + "mlp.fc1.weight", 2)[0] / embed_dim),
    }
