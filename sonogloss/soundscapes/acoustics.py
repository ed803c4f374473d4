"""Effects of a place on a sound: tone color, reverberation, distance and level."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sonogloss.records import FloatArray
from sonogloss.soundscapes.signal import RATE, Rng, count, filtered

FAR_CUTOFF_HZ = 2_500.0
FAR_GAIN_DB = -12.0


def colored(rng: Rng, x: FloatArray, strength_db: float = 5.0) -> FloatArray:
    """A random smooth equaliser: five points a couple of octaves apart, each up or down by some decibels."""
    gains = rng.normal(0, strength_db, 5)
    knots = np.log2([60, 250, 1000, 4000, 15_000])
    return filtered(x, lambda f: 10 ** (np.interp(np.log2(np.maximum(f, 30)), knots, gains) / 20))


def reverberant(rng: Rng, x: FloatArray) -> FloatArray:
    """A synthetic room: the sound convolved with decaying noise, mixed with the dry sound; the length stays."""
    decay = float(np.exp(rng.uniform(np.log(0.08), np.log(0.6))))
    tail = rng.standard_normal(count(3 * decay)).astype(np.float32)
    tail *= np.exp(-np.arange(len(tail)) / (decay * RATE)).astype(np.float32)
    tail /= np.sqrt(np.sum(tail**2))
    size = len(x) + len(tail)
    wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)[: len(x)]
    return (x + rng.uniform(0.1, 0.7) * wet).astype(np.float32)


def far_response(frequency: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Amplitude response of distance: air and obstacles take the treble."""
    return np.asarray(1 / (1 + (frequency / FAR_CUTOFF_HZ) ** 2))


def leveled(x: FloatArray, level_db: float = -20.0) -> FloatArray:
    """Scale so that the sounding parts (20 ms frames within 30 dB of the loudest) have this level in dBFS."""
    frame = RATE // 50
    n = max(1, len(x) // frame)
    power = np.mean(np.square(x[: n * frame].reshape(n, -1) if len(x) >= frame else x[None], dtype=np.float64), axis=1)
    active = power[power >= power.max() * 1e-3]
    rms = float(np.sqrt(active.mean())) if active.size else 0.0
    return (x * (10 ** (level_db / 20) / rms)).astype(np.float32) if rms > 0 else x
