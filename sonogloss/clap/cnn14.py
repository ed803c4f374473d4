"""CNN14 of PANNs (Kong et al., arXiv:1912.10211), from its description.

Six blocks of two 3 x 3 convolutions, each with a batch norm and a ReLU, and a mean over 2 x 2 after all blocks but the
last. The mean over frequency remains for each moment; its greatest and its mean value over time are added, and one
layer with a ReLU follows.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPooling

from sonogloss.clap.tower_config import Cnn14Config

_NEIGHBORS = 3  # moments that a frame takes together in audio-free prompt tuning (arXiv:2309.08357)


class Cnn14(nn.Module):
    """The audio tower of MS-CLAP 2022."""

    def __init__(self, config: Cnn14Config) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(config.num_mel_bins)
        for number, (before, after) in enumerate(pairwise((1, *config.channels)), start=1):
            self.add_module(f"conv_block{number}", _Block(before, after))
        self.fc1 = nn.Linear(config.channels[-1], config.hidden_size)

    def forward(self, input_features: Tensor, is_longer: Any = None) -> BaseModelOutputWithPooling:
        """Log-mel images [n, 1, frames, mels] to clips, in `pooler_output`, and a map of frames, as a ClapAudioModel.

        The map [n, hidden_size, 1, frames] has one bin of frequency. A frame stands for 32 frames of the image, and its
        two neighbors are pooled with it. No clip is marked as long.
        """
        states = self.bn0(input_features.transpose(1, 3)).transpose(1, 3)
        for block in self.blocks:
            states = block(states)
            if block is not self.blocks[-1]:
                states = functional.avg_pool2d(states, 2)
        moments = states.mean(dim=3)
        clips = functional.relu(self.fc1(moments.amax(dim=2) + moments.mean(dim=2)))
        frames = self.frames(moments).transpose(1, 2)[:, :, None]
        return BaseModelOutputWithPooling(last_hidden_state=frames, pooler_output=clips)

    @property
    def blocks(self) -> list[nn.Module]:
        """The convolution blocks, in their order; they are numbered from 1 in the names of weights."""
        return [module for name, module in self.named_children() if name.startswith("conv_block")]

    def frames(self, moments: Tensor) -> Tensor:
        """Moments [n, channels, moments] to frames [n, moments - 2, hidden_size], pooled as clips are."""
        near = functional.max_pool1d(moments, _NEIGHBORS, 1) + functional.avg_pool1d(moments, _NEIGHBORS, 1)
        return functional.relu(self.fc1(near.transpose(1, 2)))


class _Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)

    def forward(self, states: Tensor) -> Tensor:
        states = torch.relu(self.bn1(self.conv1(states)))
        return torch.relu(self.bn2(self.conv2(states)))
