"""Texts and waveforms from a caller, checked and brought into the form that every CLAP computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sonogloss.audio.decode import AudioLimits
from sonogloss.audio.rates import resample
from sonogloss.clap.protocol import Clap
from sonogloss.errors import OptionError
from sonogloss.records import FloatArray

_LOUDEST = 16.0  # 24 dB over full scale: what exceeds it is most likely integers that were converted and not scaled
_PCM: dict[np.dtype[Any], Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    np.dtype(np.int16): lambda samples: samples / np.float32(1 << 15),
    np.dtype(np.int32): lambda samples: samples / float(1 << 31),
    np.dtype(np.uint8): lambda samples: (samples - np.float32(128)) / np.float32(128),
}


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list.

    Raises:
        OptionError: it is one string, or an element is not a string.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise OptionError(f"embed_text takes a list of texts, not {_kind(texts)}.", "Give [text].")
    listed = list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise OptionError(f"Text {number} is {_kind(text)}, not a string.", "Leave it out or convert it.")
    return listed


def checked_waveforms(
    waveforms: Sequence[npt.NDArray[Any]], clap: Clap, sample_rate: int | None = None
) -> list[FloatArray]:
    """Mono waveforms as float32 at the CLAP's rate; float32 arrays at that rate are returned as they are.

    The check of a float array is one pass for its minimum and one for its maximum.

    Args:
        waveforms: as :meth:`Clap.embed_audio` takes them.
        clap: whose rate and window count.
        sample_rate: of the waveforms in Hz, by default the CLAP's.

    Raises:
        OptionError: a waveform or the rate cannot be used.
    """
    if hasattr(waveforms, "shape"):
        raise OptionError(
            f"embed_audio takes a list of mono waveforms, not one array of shape {tuple(waveforms.shape)}.",
            "Give [samples] for one clip, or list(array) if each row is a clip.",
        )
    if isinstance(waveforms, str | bytes) or not isinstance(waveforms, Iterable):
        raise OptionError(
            f"embed_audio takes a list of mono waveforms, not {_kind(waveforms)}.",
            "Decode a file first, as sonogloss.audio.cut_clips does.",
        )
    rate = checked_rate(clap.sample_rate if sample_rate is None else sample_rate)
    return [_checked_waveform(samples, number, clap, rate) for number, samples in enumerate(waveforms)]


def _array(samples: npt.ArrayLike, number: int) -> npt.NDArray[Any]:
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of unequal lengths, tensors on another device
        raise OptionError(f"Waveform {number} is not an array ({error}).", "Give a numpy array of samples.") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def checked_rate(rate: int) -> int:
    """A sample rate in Hz.

    Raises:
        OptionError: it is not a whole number in the range that audio is decoded in.
    """
    limits = AudioLimits()
    whole = isinstance(rate, int | np.integer) or (isinstance(rate, float) and rate.is_integer())
    if not whole or not limits.min_sample_rate <= rate <= limits.max_sample_rate:
        raise OptionError(
            f"The sample rate {rate!r} is not usable.",
            f"Give Hz as a whole number from {limits.min_sample_rate} to {limits.max_sample_rate}.",
        )
    return int(rate)


def checked_samples(samples: npt.ArrayLike, number: int = 0) -> FloatArray:
    """Mono samples [n] as float32; those of integers in [-1, 1].

    Raises:
        OptionError: they have another shape, are empty or hold values that cannot be sound.
    """
    array = _array(samples, number)
    if array.ndim != 1:
        raise OptionError(
            f"Waveform {number} has shape {array.shape}, and a waveform is mono, [samples].",
            "Mix its channels down, as in samples.mean(axis=0) for [channels, samples].",
        )
    if not len(array):
        raise OptionError(f"Waveform {number} is empty.", "Leave it out.")
    return _scaled(array, number)


def _checked_waveform(waveform: npt.ArrayLike, number: int, clap: Clap, rate: int) -> FloatArray:
    samples = checked_samples(waveform, number)
    longest = int(clap.window_s * rate)
    if len(samples) > longest:
        raise OptionError(
            f"Waveform {number} has {len(samples)} samples, and the CLAP takes at most {longest} "
            f"({clap.window_s:g} s at {rate} Hz).",
            "Cut it into windows, as sonogloss.audio.cut_clips does.",
        )
    if rate == clap.sample_rate:
        return samples
    # A full window may be a sample too long after resampling.
    return resample(samples, rate, clap.sample_rate)[: int(clap.window_s * clap.sample_rate)]


def _scaled(samples: npt.NDArray[Any], number: int) -> FloatArray:
    """float32 samples, those of integers in [-1, 1]."""
    if samples.dtype in _PCM:
        return _PCM[samples.dtype](samples).astype(np.float32, copy=False)
    if samples.dtype.kind != "f":
        raise OptionError(
            f"Waveform {number} has the type {samples.dtype}.",
            "Give float samples in [-1, 1], or PCM as int16, int32 or uint8.",
        )
    low, high = float(samples.min()), float(samples.max())  # NaN where a sample is NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        raise OptionError(f"Waveform {number} has samples that are NaN or infinite.", "Leave it out or repair it.")
    if max(-low, high) > _LOUDEST:
        raise OptionError(
            f"Waveform {number} has values from {low:g} to {high:g}, which look like integers that were not scaled.",
            "Scale its samples to [-1, 1], or give them as int16, int32 or uint8.",
        )
    return samples.astype(np.float32, copy=False)


def _kind(value: object) -> str:
    """The type of a value in words."""
    if value is None or isinstance(value, str):
        return "None" if value is None else "one string"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
