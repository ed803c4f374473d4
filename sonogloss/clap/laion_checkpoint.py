"""A LAION checkpoint as transformers' ClapModel: its configuration, and the name of each weight.

LAION-CLAP (Wu et al., arXiv:2211.06687) and transformers' ClapModel are the same network under different names. Sizes
follow from the shapes of the weights, and the attention heads of RoBERTa are 64 wide in every published checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers import ClapConfig

from sonogloss.audio.mel import MelSettings
from sonogloss.clap.checkpoint import Checkpoint, Sizes, Source, check_filters, rename, unusable
from sonogloss.clap.htsat import MODEL_PREFIX, htsat_name, htsat_values
from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import TorchFile
from sonogloss.errors import ModelFormatError

_PROJECTIONS = (("linear1.", "0."), ("linear2.", "2."))


def read_laion(weights: Mapping[str, StoredTensor], file: TorchFile) -> Checkpoint:
    """The model in the weights of a LAION checkpoint.

    Raises:
        ModelFormatError: it is one that ClapModel does not cover.
    """
    fused = "audio_branch.patch_embed.mel_conv2d.weight" in weights
    if any("mel_conv1d" in name or ".local_att2." in name for name in weights):
        raise unusable("it does not fuse features by aff_2d, as the published ones do")
    config = _config(weights, fused=fused)
    filters = weights.get("audio_branch.logmel_extractor.melW")
    settings = _front_end(config.audio_config.num_mel_bins, filters)
    # Models with fusion were trained with other filters, but their files hold these too.
    check_filters(file, filters, settings)
    return Checkpoint(
        layout="laion",
        weights=weights,
        config=config,
        settings=replace(settings, filters="htk" if fused else "slaney"),
        source=laion_name,
        tokenizers=("roberta-base", "FacebookAI/roberta-base"),  # the old and the new name of the same on the hub
        max_tokens=77,
    )


def laion_name(name: str) -> Source:
    """LAION's name of a weight of ClapModel."""
    if name.startswith(MODEL_PREFIX):
        return htsat_name(name, "audio_branch.")
    if name.startswith(("text_projection.", "audio_projection.")):
        return rename(name, _PROJECTIONS), None
    return name.replace("text_model.", "text_branch.", 1), None


def _config(weights: Mapping[str, StoredTensor], *, fused: bool) -> Any:
    """The ClapConfig of these shapes."""
    sizes = Sizes(weights)
    audio = htsat_values(sizes, "audio_branch.")
    types = weights.get("text_branch.embeddings.token_type_embeddings.weight")
    if types is None or types.shape[0] != 1:  # BERT has two types, BART and the plain transformer none
        raise unusable("its text tower is not RoBERTa")
    fusion: dict[str, Any] = {"enable_fusion": fused, "fusion_type": "aff_2d" if fused else None}
    if fused:
        (inner, *_) = sizes.shape("audio_branch.patch_embed.fusion_model.local_att.0.weight", 4)
        fusion["aff_block_r"] = audio["patch_embeds_hidden_size"] // max(inner, 1)
    try:
        return ClapConfig(
            projection_dim=sizes.shape("audio_projection.2.weight", 2)[0],
            audio_config=audio | fusion,
            # RoBERTa's epsilon; the default of ClapTextConfig is another.
            text_config=sizes.encoder("text_branch.") | {"layer_norm_eps": 1e-5},
        )
    except ModelFormatError:
        raise
    except Exception as error:  # transformers checks values in several ways, each with its own exception
        raise unusable(f"its shapes do not fit together ({error})") from error


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
