"""Building blocks of procedural sound: noise, tones, voices, repetition, effects of a place. Numpy arrays at 32 kHz.

Filtering is done in the frequency domain (multiply the spectrum by a curve): one transform per sound keeps a render at
some milliseconds per second of sound without any dependency beyond numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sonogloss.records import FloatArray

RATE = 32_000
Rng = np.random.Generator
Curve = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def count(seconds: float) -> int:
    """Number of samples in a duration, at least one."""
    return max(1, round(seconds * RATE))


def loguniform(rng: Rng, low: float, high: float) -> float:
    """One sample, uniform on a logarithmic axis, for frequencies and rates."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def filtered(x: FloatArray, curve: Curve) -> FloatArray:
    """Multiply the spectrum by `curve(frequency in Hz)`."""
    spectrum = np.fft.rfft(x)
    frequencies = np.fft.rfftfreq(len(x), 1 / RATE).astype(np.float64)
    return np.fft.irfft(spectrum * curve(frequencies), len(x)).astype(np.float32)


def band(low: float, high: float, slope: float = 4.0) -> Curve:
    """Band-pass curve with soft edges; `slope` is the order of each edge."""
    return lambda f: 1 / (1 + (low / np.maximum(f, 1.0)) ** slope) / (1 + (f / high) ** slope)


def peaks(centers: Sequence[float], widths: Sequence[float], gains: Sequence[float], floor: float = 0.02) -> Curve:
    """Resonances (formants, body modes): bell curves in frequency on a low floor."""

    def curve(f: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        total = np.full_like(f, floor)
        for center, width, gain in zip(centers, widths, gains, strict=True):
            total += gain / (1 + ((f - center) / width) ** 2)
        return total

    return curve


def noise(rng: Rng, seconds: float, low: float = 20, high: float = 15_000, tilt: float = 0.0) -> FloatArray:
    """Noise between two frequencies; `tilt` is the exponent of the amplitude slope (-1 falls 6 dB an octave)."""
    x = rng.standard_normal(count(seconds)).astype(np.float32)
    shape = band(low, high)
    return unit(filtered(x, lambda f: shape(f) * (np.maximum(f, 20.0) / 1000) ** tilt))


def drift(rng: Rng, seconds: float, rate: float, depth: float) -> FloatArray:
    """A slow random curve around 1: smooth noise with about `rate` turns a second, scaled by `depth`."""
    knots = rng.standard_normal(max(2, int(seconds * rate) + 2))
    x = np.linspace(0, len(knots) - 1, count(seconds))
    at = x.astype(int).clip(0, len(knots) - 2)
    blend = (1 - np.cos(np.pi * (x - at))) / 2
    return (1 + depth * (knots[at] * (1 - blend) + knots[at + 1] * blend)).astype(np.float32)


def glide(seconds: float, points: Sequence[tuple[float, float]]) -> FloatArray:
    """A curve through (relative time 0..1, value) points."""
    times, values = zip(*points, strict=True)
    return np.interp(np.linspace(0, 1, count(seconds)), times, values).astype(np.float32)


def phase(frequency: FloatArray) -> npt.NDArray[np.float64]:
    """Running phase in turns of a frequency track in Hz."""
    return np.asarray(np.cumsum(frequency.astype(np.float64)) / RATE)


def tone(frequency: FloatArray, harmonics: Sequence[float] = (1.0,)) -> FloatArray:
    """A sum of harmonics on a frequency track; `harmonics` holds their amplitudes."""
    turns = 2 * np.pi * phase(frequency)
    total = np.zeros(len(frequency))
    for number, amplitude in enumerate(harmonics, start=1):
        if amplitude:
            total += amplitude * np.sin(number * turns)
    return total.astype(np.float32)


def buzz(frequency: FloatArray, sharpness: float = 6.0) -> FloatArray:
    """A pulse train rich in harmonics: the source of voices, horns and engines. Larger `sharpness`, brighter pulses."""
    turns = phase(frequency) % 1.0
    pulse = np.exp(-sharpness * turns) - (1 - np.exp(-sharpness)) / sharpness
    return pulse.astype(np.float32)


def swell(seconds: float, attack: float, release: float) -> FloatArray:
    """An envelope that rises over `attack` seconds, stays, and falls over `release` seconds."""
    n = count(seconds)
    t = np.arange(n) / RATE
    rise = np.minimum(1, t / max(attack, 1e-4))
    fall = np.minimum(1, (n / RATE - t) / max(release, 1e-4))
    return (np.sin(rise * np.pi / 2) * np.sin(np.clip(fall, 0, 1) * np.pi / 2)).astype(np.float32)


def ring(seconds: float, decay: float, attack: float = 0.001) -> FloatArray:
    """The envelope of something struck: a short rise and an exponential fall with time constant `decay`."""
    t = np.arange(count(seconds)) / RATE
    return (np.minimum(1, t / attack) * np.exp(-t / decay)).astype(np.float32)


def modes(seconds: float, frequencies: Sequence[float], decays: Sequence[float], gains: Sequence[float]) -> FloatArray:
    """A struck body: decaying sines."""
    t = np.arange(count(seconds)) / RATE
    total = np.zeros(len(t))
    for frequency, decay, gain in zip(frequencies, decays, gains, strict=True):
        total += gain * np.exp(-t / decay) * np.sin(2 * np.pi * frequency * t)
    return total.astype(np.float32)


def unit(x: FloatArray) -> FloatArray:
    """Scale to a root mean square of 1 (silence stays silence)."""
    level = float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
    return (x / level).astype(np.float32) if level > 0 else x


def place(total: FloatArray, sound: FloatArray, start_s: float, gain: float = 1.0) -> None:
    """Add a sound to a longer one at a time in seconds; what lies beyond the end is cut."""
    at = round(start_s * RATE)
    room = min(len(sound), len(total) - at)
    if room > 0:
        total[at : at + room] += gain * sound[:room]


def repeated(
    rng: Rng,
    seconds: float,
    period: float,
    make: Callable[[int], FloatArray],
    *,
    jitter: float = 0.15,
    level: float = 0.15,
    most: int = 400,
) -> tuple[FloatArray, int]:
    """The same kind of call again and again: `make(i)` renders call i, one every `period` seconds or so.

    Returns the sound and how many calls it holds.
    """
    total = np.zeros(count(seconds), np.float32)
    at = rng.uniform(0, 0.1) * period
    calls = 0
    while at < seconds - 0.1 and calls < most:
        place(total, make(calls), at, float(np.exp(level * rng.standard_normal())))
        at += period * float(np.exp(jitter * rng.standard_normal()))
        calls += 1
    return total, calls


def speech(rng: Rng, seconds: float, pitch: float, size: float, rate: float) -> FloatArray:
    """Syllables of a voice: pulses through vowel-like resonances, noise for consonants, phrases with pauses.

    `pitch` in Hz, `size` scales the formants (larger = shorter vocal tract), `rate` in syllables a second.
    """
    total = np.zeros(count(seconds), np.float32)
    at = rng.uniform(0, 0.15)
    base = pitch
    while at < seconds - 0.1:
        length = float(np.clip(rng.normal(1 / rate, 0.25 / rate), 0.07, 0.45))
        base += 0.3 * (pitch - base) + rng.normal(0, 0.06) * pitch
        track = glide(length, [(0, base * rng.uniform(0.95, 1.1)), (1, base * rng.uniform(0.85, 1.05))])
        first, second = rng.choice([(300, 2200), (450, 1800), (700, 1200), (550, 950), (350, 800), (650, 1700)])
        curve = peaks([first * size, second * size, 2700 * size, 3600 * size], [80, 110, 160, 220], [1, 0.6, 0.3, 0.15])
        vowel = unit(filtered(buzz(track, 9), curve)) * swell(length, 0.02, 0.05)
        place(total, vowel, at)
        if rng.random() < 0.6:
            place(total, noise(rng, 0.06, 2000, 9000) * swell(0.06, 0.01, 0.03), max(0, at - 0.04), 0.25)
        at += length + (rng.uniform(0.2, 0.5) if rng.random() < 0.12 else 0.0)
    return total


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
