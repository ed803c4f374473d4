"""A checkpoint of Microsoft's CLAP: that of 2022 (CNN14 and BERT) or of 2023 (HTSAT and GPT-2); residual heads.

The first is of Elizalde et al., arXiv:2206.04769, the second of arXiv:2309.05767. The package `msclap` runs both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import BertConfig, ClapAudioConfig, GPT2Config

from sonogloss.audio.mel import MelSettings
from sonogloss.clap.checkpoint import Checkpoint, Sizes, Source, check_filters, rename
from sonogloss.clap.htsat import MODEL_PREFIX, htsat_name, htsat_values
from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import TorchFile
from sonogloss.clap.tower_config import Cnn14Config, TowerConfig

_AUDIO, _HTSAT, _TEXT = "audio_encoder.base.", "audio_encoder.base.htsat.", "caption_encoder.base."
_NAMES = (
    ("text_model.", _TEXT),
    ("text_projection.", "caption_encoder.projection."),
    ("audio_model.", _AUDIO),
    ("audio_projection.", "audio_encoder.projection."),
    ("logit_scale_a", "logit_scale"),
)
_END = "<|endoftext|>"


def read_msclap(weights: Mapping[str, StoredTensor], file: TorchFile) -> Checkpoint:
    """The model in the weights of an MS-CLAP checkpoint.

    Raises:
        ModelFormatError: it has other towers.
    """
    sizes = Sizes(weights)
    gpt = _TEXT + "wte.weight" in weights
    cnn = _AUDIO + "conv_block1.conv1.weight" in weights
    audio = _cnn14(sizes) if cnn else ClapAudioConfig(**htsat_values(sizes, _HTSAT))
    settings = _front_end(audio.num_mel_bins, cnn=cnn)
    check_filters(file, weights.get((_AUDIO if cnn else _HTSAT) + "logmel_extractor.melW"), settings)
    return Checkpoint(
        layout="msclap",
        weights=weights,
        config=TowerConfig(
            text_config=GPT2Config(**sizes.decoder(_TEXT), pad_token_id=0, bos_token_id=None, eos_token_id=None)
            if gpt
            else BertConfig(**sizes.encoder(_TEXT)),
            audio_config=audio,
            projection_dim=sizes.shape("audio_encoder.projection.linear2.weight", 2)[0],
            head="residual",
            text_suffix=f" {_END}" if gpt else "",
        ),
        settings=settings,
        source=msclap_name,
        tokenizers=("gpt2", "openai-community/gpt2") if gpt else ("bert-base-uncased", "google-bert/bert-base-uncased"),
        max_tokens=77 if gpt else 100,
        pad_token="!" if gpt else None,
    )


def msclap_name(name: str) -> Source:
    """The authors' name of a weight of :class:`~sonogloss.clap.tower_clap.TowerClap`."""
    return htsat_name(name, _HTSAT) if name.startswith(MODEL_PREFIX) else (rename(name, _NAMES), None)


def _cnn14(sizes: Sizes) -> Any:
    blocks = sizes.count(rf"{_AUDIO}conv_block(\d+)\.") - 1  # they are counted from 1
    return Cnn14Config(
        channels=tuple(sizes.shape(f"{_AUDIO}conv_block{n + 1}.conv2.weight", 4)[0] for n in range(blocks)),
        hidden_size=sizes.shape(_AUDIO + "fc1.weight", 2)[0],
        num_mel_bins=sizes.shape(_AUDIO + "bn0.weight", 1)[0],
    )


def _front_end(mel_bins: int, *, cnn: bool) -> MelSettings:
    """44.1 kHz, five seconds for CNN14 and seven for HTSAT, whose mel filters were made for 32 kHz all the same."""
    return MelSettings(
        sample_rate=44_100,
        window_s=5.0 if cnn else 7.0,
        fft_size=1024,
        hop_length=320,
        mel_bins=mel_bins,
        frequency_min=50.0,
        frequency_max=14_000.0,
        filters="slaney",
        filter_rate=None if cnn else 32_000,
        padding="repeat",
    )
