"""Random LAION checkpoints as training leaves them, with and without laion_clap."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ClapConfig, ClapModel

from recipes.pocket.recipe import train_tokenizer
from sonogloss.audio.mel import MelSettings, mel_filters
from sonogloss.clap.laion_checkpoint import laion_name

SENTENCES = ["a dog barks twice while rain falls on a roof", "a man speaks and then a door closes", "a siren wails"]
FRONT_END = MelSettings(
    sample_rate=48000,
    window_s=10.0,
    fft_size=1024,
    hop_length=480,
    mel_bins=64,
    frequency_min=50,
    frequency_max=14000,
    filters="slaney",
    padding="repeatpad",
)


def write_tokenizer(directory: Path) -> int:
    """Save a small tokenizer in RoBERTa's layout and return its number of entries."""
    tokenizer = train_tokenizer(SENTENCES)
    tokenizer.save_pretrained(directory)
    return len(tokenizer)


def tiny_model(vocabulary: int, *, fused: bool = False, seed: int = 0) -> ClapModel:
    """A random ClapModel of a size that a LAION checkpoint could have, about 300 kB."""
    config = ClapConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 90,
            "layer_norm_eps": 1e-5,
        },
        audio_config={
            "patch_embeds_hidden_size": 8,
            "hidden_size": 16,
            "depths": [2, 1],
            "num_attention_heads": [2, 4],
            "num_hidden_layers": 2,
            "enable_fusion": fused,
            "fusion_type": "aff_2d" if fused else None,
        },
        projection_dim=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ClapModel(config).eval()
        randomize(model, model.audio_model.audio_encoder.batch_norm)
    return model


def randomize(model: torch.nn.Module, front: torch.nn.Module) -> None:
    """Weights under which inputs differ: the usual small ones would map all to nearly the same embedding."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "extractor" in name:  # the front end is no weight
                continue
            if parameter.dim() > 1:
                parameter.normal_(std=(2.0 if "proj" in name else 1.0) * parameter[0].numel() ** -0.5)
            elif parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        front.running_mean.fill_(-40.0)
        front.running_var.fill_(400.0)
        model.logit_scale_a.fill_(3.0)


def laion_state(model: ClapModel) -> dict[str, torch.Tensor]:
    """The weights of a ClapModel under the names that laion_clap has for them, with what only it has."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        own, third = laion_name(name)
        state[own] = tensor if third is None else torch.cat([state.get(own, tensor[:0]), tensor])
    del state["text_branch.embeddings.token_type_ids"]
    return state | {
        "audio_branch.spectrogram_extractor.stft.conv_real.weight": torch.zeros(513, 1, 4),
        "audio_branch.logmel_extractor.melW": torch.from_numpy(mel_filters(FRONT_END)).float(),
        "audio_branch.layers.0.blocks.1.attn_mask": torch.zeros(64, 64, 64),
        "audio_branch.tscam_conv.weight": torch.zeros(527, 16, 2, 3),
        "audio_branch.head.weight": torch.zeros(7, 7),
        "audio_branch.head.bias": torch.zeros(7),
        "audio_transform.sequential.0.weight": torch.zeros(32, 32),
        "text_transform.sequential.0.weight": torch.zeros(32, 32),
    }


def write_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Save a state as the training scripts of LAION do, with much that is no tensor."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    content: dict[str, Any] = {
        "epoch": 15,
        "name": "random",
        "state_dict": OrderedDict((f"module.{name}", tensor) for name, tensor in state.items()),
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.9),
        "args": argparse.Namespace(amodel="HTSAT-tiny", lr=1e-4),
    }
    torch.save(content, path)
