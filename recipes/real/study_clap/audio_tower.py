"""The sound-effects CNN that the package `aisfx` carries, from its weights alone (Ma and Lerch, ISMIR 2022; CC BY 4.0).

Architecture and front end are those that the paper and the package describe: log mel power of 96 HTK bands, four blocks
of two 3 x 3 convolutions with batch normalization and ReLU, the first three followed by max pooling of 2 x 2; then the
mean over frequency and the maximum over time, and over that a classifier of three layers a library. The checkpoint is
read as tensors; nothing of the package is imported.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import open_torch_file
from sonogloss.errors import ModelFormatError

from .categories import CATEGORIES

RATE = 44_100
_FFT, _HOP, _BANDS = 2048, 1024, 96
_LARGEST = 9.457798957824707  # the largest value of the training spectrograms, which scales them to 0..1
_WIDTHS = (1, 64, 128, 256, 512)
_CLASSIFIERS = 3
_PREFIXES = ("embedding_net.", *(f"fc.{number}." for number in range(_CLASSIFIERS)))
FEATURES = 2 * _WIDTHS[-1] + 2 * _WIDTHS[-2]
WIDTH = FEATURES + len(CATEGORIES)


class AudioTower(nn.Module):
    """Waveforms at 44.1 kHz to features and category probabilities; the weights stay as they come."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        for number in range(1, len(_WIDTHS)):
            self.add_module(f"conv_block{number}", _block(*_WIDTHS[number - 1 : number + 1]))
        places = [
            [place for place, kind in enumerate(CATEGORIES) if number in kind.classifiers]
            for number in range(_CLASSIFIERS)
        ]
        self.classifiers = nn.ModuleList(_classifier(len(each)) for each in places)
        self._places = places
        self.register_buffer("window", torch.hann_window(_FFT, periodic=False), persistent=False)
        self.register_buffer("filters", torch.from_numpy(_filters()).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Features and category probabilities [WIDTH] of one clip [samples], of any length.

        Features are the mean over frequency of the last two blocks, each by its maximum over time (the released
        embedding is that of the last block) and by its mean, which tells a steady sound from a short one; their
        logarithm, as a few of them are large.
        """
        x = self._log_mel(waveform)[None, None]
        pooled = []
        for number in range(1, len(_WIDTHS)):
            block = self.get_submodule(f"conv_block{number}")
            x = torch.relu(block.get_submodule("bn1")(block.get_submodule("conv1")(x)))
            x = torch.relu(block.get_submodule("bn2")(block.get_submodule("conv2")(x)))
            if number >= len(_WIDTHS) - 2:
                over_time = x.mean(dim=3)[0]
                pooled += [over_time.amax(dim=1), over_time.mean(dim=1)]
            if number < len(_WIDTHS) - 1:
                x = functional.max_pool2d(x, 2)
        return torch.cat([torch.log1p(3 * torch.cat(pooled)), self._probabilities(pooled[-2])])

    def _probabilities(self, embedding: Tensor) -> Tensor:
        """The category probabilities of the released embedding: the classifiers' geometric mean."""
        total, count = torch.zeros(len(CATEGORIES)), torch.zeros(len(CATEGORIES))
        for classifier, places in zip(self.classifiers, self._places, strict=True):
            total[places] += functional.log_softmax(classifier(embedding), dim=-1).clamp(min=-20.0)
            count[places] += 1
        return torch.where(count > 0, total / count.clamp(min=1), -torch.inf).softmax(dim=-1)

    def _log_mel(self, waveform: Tensor) -> Tensor:
        """Scaled log mel power [frames, bands]; a short clip gets silence up to the eight frames that pooling needs."""
        waveform = functional.pad(waveform, (0, max(0, 8 * _HOP - len(waveform))))
        spectrum = torch.stft(
            waveform, _FFT, _HOP, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        power = (spectrum.real.square() + spectrum.imag.square()).T @ self.filters
        return torch.log10(1 + 10_000 * power) / _LARGEST


def read_audio_tower(path: str) -> AudioTower:
    """The tower from the checkpoint of `aisfx`, `models/checkpoint.pth` in its wheel.

    Raises:
        MissingInputError: there is no such file.
        ModelFormatError: it holds another network.
    """
    tower = AudioTower()
    with open_torch_file(path) as file:
        state = file.content[0] if isinstance(file.content, tuple) and file.content else file.content
        named = state.items() if isinstance(state, Mapping) else ()
        weights = {
            str(name).removeprefix(_PREFIXES[0]).replace("fc.", "classifiers."): file.read(tensor)
            for name, tensor in named
            if isinstance(tensor, StoredTensor) and str(name).startswith(_PREFIXES)
        }
    try:
        tower.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFormatError(f"{path!r} is not the CNN of aisfx ({error}).", "Name its checkpoint.pth.") from error
    return tower.eval().requires_grad_(requires_grad=False)


def _classifier(outputs: int) -> nn.Module:
    width = _WIDTHS[-1]
    return nn.Sequential(
        nn.Linear(width, width // 2),
        nn.ReLU(),
        nn.Linear(width // 2, width // 4),
        nn.ReLU(),
        nn.Linear(width // 4, outputs),
    )


def _block(inputs: int, outputs: int) -> nn.Module:
    block = nn.Module()
    block.add_module("conv1", nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
    block.add_module("bn1", nn.BatchNorm2d(outputs))
    block.add_module("conv2", nn.Conv2d(outputs, outputs, 3, padding=1, bias=False))
    block.add_module("bn2", nn.BatchNorm2d(outputs))
    return block


def _filters() -> npt.NDArray[np.float64]:
    """Triangles on the HTK mel scale [bins, bands], each with weights that add up to one."""
    bins = 2595 * np.log10(1 + np.linspace(0, RATE / 2, _FFT // 2 + 1) / 700)[:, None]
    edges = np.linspace(0, bins[-1, 0], _BANDS + 2)
    triangles = np.maximum(0, 1 - np.abs(bins - edges[1:-1]) / edges[1])
    result: npt.NDArray[np.float64] = triangles / triangles.sum(axis=0)
    return result
