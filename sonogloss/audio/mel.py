"""Log-mel features in batches with torch, equal to those of ClapFeatureExtractor, which takes one clip at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sonogloss.errors import ModelFormatError
from sonogloss.records import FloatArray

_POWER_FLOOR = 1e-10  # -100 dB, the floor of the reference
_FRAMES_AT_ONCE = 256
_BANDS_AT_ONCE = 16
OWN_KEYS = ("quantise", "filter_rate", "power_floor")
"""Names of :class:`MelSettings` that a ClapFeatureExtractor does not have; a saved one may hold them all the same."""


@dataclass(frozen=True, kw_only=True)
class MelSettings:
    """The preprocessing values that a CLAP was trained with, from its directory; there are no defaults.

    Attributes:
        sample_rate: in Hz.
        window_s: seconds of audio the model takes at once.
        fft_size: samples of an analysis frame (Hann window).
        hop_length: samples from one frame to the next.
        mel_bins: number of mel bands.
        frequency_min: lower edge of the lowest band in Hz.
        frequency_max: upper edge of the highest band in Hz.
        filters: `slaney` (area-normalized, models without fusion) or `htk` (not normalized, models with fusion).
        padding: of a short clip to the window: `repeatpad` whole copies then zeros, `repeat` copies, `pad` zeros.
        quantise: `int16` where samples are first clipped to [-1, 1] and cut to 16 bits, as laion_clap does.
        filter_rate: in Hz, what the mel filters were made for where the samples have another rate, as in msclap.
        power_floor: the least mel power, by default 1e-10.
    """

    sample_rate: int
    window_s: float
    fft_size: int
    hop_length: int
    mel_bins: int
    frequency_min: float
    frequency_max: float
    filters: Literal["slaney", "htk"]
    padding: Literal["repeatpad", "repeat", "pad"]
    quantise: Literal["int16"] | None = None
    filter_rate: int | None = None
    power_floor: float | None = None

    def __post_init__(self) -> None:
        for name in ("sample_rate", "window_s", "fft_size", "hop_length", "mel_bins"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")
        low, high, nyquist = self.frequency_min, self.frequency_max, (self.filter_rate or self.sample_rate) / 2
        if not 0 <= low < high <= nyquist:
            raise ValueError(f"the band {low:g}..{high:g} Hz does not lie in 0..{nyquist:g} Hz")
        if self.padding not in ("repeatpad", "repeat", "pad"):
            raise ValueError(f"padding {self.padding!r} is none of repeatpad, repeat, pad")
        if self.quantise not in (None, "int16"):
            raise ValueError(f"quantise {self.quantise!r} is not int16")
        if self.power_floor is not None and not self.power_floor > 0:
            raise ValueError(f"power_floor must be positive, got {self.power_floor!r}")

    @property
    def least_power(self) -> float:
        """The mel power that silence is taken for."""
        return _POWER_FLOOR if self.power_floor is None else self.power_floor

    @property
    def window_samples(self) -> int:
        """Samples of a full window."""
        return int(self.window_s * self.sample_rate)

    @property
    def frames(self) -> int:
        """Frames of a full window: 1001 for ten seconds with a hop of ten milliseconds (frames are centered)."""
        return self.window_samples // self.hop_length + 1

    @classmethod
    def from_preprocessor(cls, values: Mapping[str, Any], *, file: str = "preprocessor_config.json") -> MelSettings:
        """Settings from the values of a saved ClapFeatureExtractor.

        Every value but those of `OWN_KEYS` is required: the reference's defaults (0 Hz as the lowest frequency, for
        one) differ from those of published models, so a guess would be silently wrong.

        Args:
            values: by the extractor's names.
            file: where they come from, for messages.

        Raises:
            ModelFormatError: a value is missing or cannot be.
        """
        remedy = "Restore the file that was saved with the model."
        try:
            truncation = values["truncation"]
            if truncation not in ("rand_trunc", "fusion"):
                raise ValueError(f"truncation {truncation!r} is neither rand_trunc nor fusion")
            return cls(
                sample_rate=int(values["sampling_rate"]),
                window_s=float(values["max_length_s"]),
                fft_size=int(values["fft_window_size"]),
                hop_length=int(values["hop_length"]),
                mel_bins=int(values["feature_size"]),
                frequency_min=float(values["frequency_min"]),
                frequency_max=float(values["frequency_max"]),
                filters="htk" if truncation == "fusion" else "slaney",
                padding=values["padding"],
                **{name: values.get(name) for name in OWN_KEYS},
            )
        except KeyError as error:
            raise ModelFormatError(f"{file} has no {error.args[0]!r}.", remedy) from error
        except (TypeError, ValueError) as error:
            raise ModelFormatError(f"{file} cannot be used: {error}.", remedy) from error


class LogMel(nn.Module):
    """Waveforms to log-mel images, in one batched STFT.

    Equal to ClapFeatureExtractor to 1e-4 dB, except that a waveform longer than the window is an error, not a random
    crop. Spectra are computed in double precision, as there: in single precision, rounding errors fill the bands 100 dB
    below a loud pure tone, and embeddings differ by 4e-5.
    """

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self, settings: MelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("window", torch.hann_window(settings.fft_size, dtype=torch.float64), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters(settings)).float(), persistent=False)
        self._blocks = [_used(self.filters, bands) for bands in torch.arange(settings.mel_bins).split(_BANDS_AT_ONCE)]
        self._used_bins = max(bins.stop for bins, _ in self._blocks)

    def fill(self, waveform: FloatArray) -> FloatArray:
        """A waveform `[samples]` padded to exactly one window, as short clips in the model's training.

        Raises:
            ValueError: the waveform is empty, not one-dimensional or longer than the window.
        """
        size = self.settings.window_samples
        if waveform.ndim != 1 or not 0 < len(waveform) <= size:
            raise ValueError(f"a waveform must hold 1..{size} mono samples, got shape {waveform.shape}")
        if self.settings.quantise == "int16":
            # Toward zero, as a cast to integers.
            waveform = (np.trunc(np.clip(waveform, -1, 1) * np.float32(32767)) / 32767.0).astype(np.float32)
        filled = np.zeros(size, dtype=np.float32)
        copies = {"pad": 1, "repeatpad": size // len(waveform), "repeat": math.ceil(size / len(waveform))}
        tiled = np.tile(waveform, copies[self.settings.padding])[:size]
        filled[: len(tiled)] = tiled
        return filled

    def forward(self, waveforms: Sequence[FloatArray]) -> torch.Tensor:
        """Log-mel power in decibels.

        Args:
            waveforms: mono float32 at the model's rate, each at most one window long.

        Returns:
            float32 `[n, 1, frames, mel_bins]`, at least -100 where the settings name no floor.
        """
        if not waveforms:
            return torch.empty((0, 1, self.settings.frames, self.settings.mel_bins), device=self.window.device)
        batch = torch.from_numpy(np.stack([self.fill(w) for w in waveforms])).to(self.window.device)
        # On a CPU one waveform at a time stays in the cache.
        parts = batch.split(1) if batch.device.type == "cpu" else (batch,)
        least = self.settings.least_power
        mel = torch.cat([self.power(part).clamp_(min=least).log10_().mul_(10.0) for part in parts])
        if mel.shape[1] != self.settings.frames:
            raise AssertionError(f"expected {self.settings.frames} frames, got {mel.shape[1]}")
        return mel.unsqueeze(1)

    def power(self, batch: torch.Tensor) -> torch.Tensor:
        """Samples `[n, samples]`, more than half a frame, to mel power `[n, frames, mel_bins]`, float32.

        Raises:
            ValueError: less than half a frame of samples.
        """
        edge = self.settings.fft_size // 2
        if batch.shape[1] <= edge:
            raise ValueError(f"{batch.shape[1]} samples cannot be mirrored at their ends; {edge + 1} are needed")
        mirrored = batch[:, 1 : edge + 1].flip(1), batch, batch[:, -edge - 1 : -1].flip(1)
        padded = torch.cat(mirrored, dim=1).double()
        frames = padded.unfold(-1, self.settings.fft_size, self.settings.hop_length)
        # On a CPU a few frames at a time stay in the cache: torch.stft, which takes all, needs half as long again.
        parts = frames.split(_FRAMES_AT_ONCE, dim=1) if batch.device.type == "cpu" else (frames,)
        return torch.cat([self._mel(part) for part in parts], dim=1)

    def _mel(self, frames: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(frames * self.window)[..., : self._used_bins]
        # Powers are positive: from here on nothing cancels, and single precision is enough.
        power = spectrum.real.square().add_(spectrum.imag.square()).float()
        return torch.cat([power[..., bins] @ self.filters[bins, bands] for bins, bands in self._blocks], dim=-1)


def _used(filters: torch.Tensor, bands: torch.Tensor) -> tuple[slice, slice]:
    """The bins that neighboring bands use, and these bands; most bins lie in other bands."""
    low, high = int(bands[0]), int(bands[-1]) + 1
    bins = filters[:, low:high].any(dim=1).nonzero().flatten().tolist()
    return slice(bins[0], bins[-1] + 1) if bins else slice(0, 1), slice(low, high)


def mel_filters(settings: MelSettings) -> npt.NDArray[np.float64]:
    """Triangular mel filters `[fft_size // 2 + 1, mel_bins]`.

    The Slaney scale is linear below 1 kHz and logarithmic above, with filters of equal area; the HTK scale is
    2595 log10(1 + f / 700), with filters of equal height.
    """
    to_mel, to_hertz = (_slaney_mel, _slaney_hertz) if settings.filters == "slaney" else (_htk_mel, _htk_hertz)
    low, high = to_mel(np.float64(settings.frequency_min)), to_mel(np.float64(settings.frequency_max))
    edges = to_hertz(np.linspace(low, high, settings.mel_bins + 2))
    rate = settings.filter_rate or settings.sample_rate
    bins = np.linspace(0.0, rate / 2, settings.fft_size // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if settings.filters == "slaney":
        filters *= 2.0 / (edges[2:] - edges[:-2])
    result: npt.NDArray[np.float64] = filters
    return result


_Doubles = npt.NDArray[np.float64] | np.float64
_LINEAR_HZ = 200.0 / 3.0  # width of a mel below the break, in Hz
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = math.log(6.4) / 27.0  # natural logarithm of the ratio between neighboring mels above the break


def _slaney_mel(hertz: _Doubles) -> Any:
    above = _BREAK_MEL + np.log(np.maximum(hertz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HZ, hertz / _LINEAR_HZ, above)


def _slaney_hertz(mel: _Doubles) -> Any:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, above)


def _htk_mel(hertz: _Doubles) -> Any:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def _htk_hertz(mel: _Doubles) -> Any:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
