"""Sounds made to be heard: alarms, bells, horns, music. A variant a function: `(rng, seconds) -> (samples, traits)`."""

from __future__ import annotations

import numpy as np

from sonogloss.records import FloatArray
from sonogloss.soundscapes.living import Variant, counted, paced, pitched
from sonogloss.soundscapes.signal import (
    RATE,
    Rng,
    buzz,
    count,
    drift,
    filtered,
    glide,
    loguniform,
    modes,
    noise,
    peaks,
    place,
    repeated,
    ring,
    swell,
    tone,
    unit,
)

SCALE = 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)


def siren(rng: Rng, seconds: float) -> Variant:
    low, period = loguniform(rng, 380, 700), loguniform(rng, 0.5, 4.0)
    t = np.arange(count(seconds)) / RATE
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * t / period)
    if rng.random() < 0.3:
        sweep = (np.sin(2 * np.pi * t / max(period, 1.0)) > 0).astype(float) * 0.5
    return tone((low * (1 + rng.uniform(0.7, 1.1) * sweep)).astype(np.float32), (1, 0.5, 0.35, 0.2)), frozenset(
        paced(period, 0.9, 2.4)
    )


def car_horn(rng: Rng, seconds: float) -> Variant:
    pitch, length = loguniform(rng, 300, 520), loguniform(rng, 0.2, 1.3)

    def honk(_: int) -> FloatArray:
        span = length * rng.uniform(0.8, 1.2)
        pair = buzz(np.full(count(span), pitch, np.float32), 7) + buzz(
            np.full(count(span), pitch * 1.26, np.float32), 7
        )
        return unit(filtered(pair, peaks([1300, 2600], [700, 900], [1, 0.7], 0.15))) * swell(span, 0.015, 0.03)

    sound, calls = repeated(rng, seconds, length + rng.uniform(0.2, 0.8), honk)
    return sound, frozenset(counted(calls))


def train_horn(rng: Rng, seconds: float) -> Variant:
    pitch, length = loguniform(rng, 160, 270), rng.uniform(1.0, 2.4)

    def blast(_: int) -> FloatArray:
        total = np.zeros(count(length), np.float32)
        for ratio in (1.0, 1.19, 1.5, 1.78):
            total += buzz((pitch * ratio * drift(rng, length, 3, 0.002)).astype(np.float32), 4)
        return unit(filtered(total, peaks([700, 1500], [500, 800], [1, 0.6], 0.2))) * swell(length, 0.12, 0.25)

    sound, calls = repeated(rng, seconds, length + rng.uniform(0.3, 0.9), blast)
    return sound, frozenset(counted(calls))


def bell(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 180, 620), loguniform(rng, 0.8, 2.4)

    def stroke(_: int) -> FloatArray:
        ratios = [0.5, 1.0, 1.19, 1.5, 2.0, 2.74, 3.76]
        return modes(
            3.0, [pitch * r for r in ratios], [1.6, 1.2, 0.8, 0.6, 0.5, 0.25, 0.15], [0.5, 1, 0.6, 0.5, 0.7, 0.4, 0.3]
        )

    sound, calls = repeated(rng, seconds, period, stroke, jitter=0.04)
    return sound, frozenset(pitched(pitch, 260, 430) | paced(period, 1.1, 1.8) | counted(calls))


def telephone(rng: Rng, seconds: float) -> Variant:
    pitch, rate, length = loguniform(rng, 900, 1900), rng.uniform(16, 26), rng.uniform(0.7, 1.4)

    def trill(_: int) -> FloatArray:
        t = np.arange(count(length)) / RATE
        two = np.where(np.sin(2 * np.pi * rate * t) > 0, pitch, pitch * 1.25).astype(np.float32)
        return tone(two, (1, 0.3, 0.2)) * swell(length, 0.01, 0.05)

    sound, calls = repeated(rng, seconds, length + rng.uniform(0.4, 1.0), trill, jitter=0.03)
    return sound, frozenset(pitched(pitch, 1100, 1550) | counted(calls))


def beeps(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 800, 3000), loguniform(rng, 0.18, 1.0)
    length = period * rng.uniform(0.3, 0.55)

    def beep(_: int) -> FloatArray:
        return tone(np.full(count(length), pitch, np.float32), (1, 0, 0.25)) * swell(length, 0.004, 0.006)

    sound, _ = repeated(rng, seconds, period, beep, jitter=0.0, level=0.02)
    return sound, frozenset(pitched(pitch, 1200, 2100) | paced(period, 0.3, 0.65))


def whistle(rng: Rng, seconds: float) -> Variant:
    pitch, notes = loguniform(rng, 900, 1900), int(rng.integers(3, 8))
    knots = [(i / notes, pitch * rng.choice(SCALE)) for i in range(notes + 1)]
    track = glide(seconds, knots) * (1 + 0.012 * np.sin(2 * np.pi * 5.5 * np.arange(count(seconds)) / RATE))
    breath = 0.04 * noise(rng, seconds, 800, 6000)
    return (tone(track.astype(np.float32), (1, 0.06)) + breath) * np.abs(drift(rng, seconds, 3, 0.25)), frozenset(
        pitched(pitch, 1100, 1600)
    )


def _melody(
    rng: Rng,
    seconds: float,
    pitch: float,
    period: float,
    chord: float,
    strike: float,
    decays: float,
    partials: list[float],
) -> FloatArray:
    """Notes of a scale, alone or in chords, each a struck or plucked string."""

    def note(_: int) -> FloatArray:
        voices = rng.choice(SCALE, 3 if rng.random() < chord else 1, replace=False)
        total = np.zeros(count(1.6), np.float32)
        for ratio in voices:
            f = pitch * ratio * rng.choice([1.0, 1.0, 2.0])
            numbers = np.arange(1, len(partials) + 1)
            stretched = f * numbers * np.sqrt(1 + strike * numbers**2)
            total += modes(1.6, list(stretched), list(decays / numbers**0.7), partials)
        return total

    return repeated(rng, seconds, period, note, jitter=0.06, level=0.2)[0]


def piano(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 180, 480), loguniform(rng, 0.22, 0.7)
    sound = _melody(rng, seconds, pitch, period, 0.35, 0.0004, 0.7, [1, 0.55, 0.3, 0.18, 0.1, 0.06])
    return sound, frozenset(pitched(pitch, 240, 370) | paced(period, 0.3, 0.5))


def guitar(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 100, 230), loguniform(rng, 0.2, 0.6)
    sound = _melody(
        rng, seconds, pitch, period, 0.15, 0.00005, 0.45, [0.7, 1, 0.85, 0.7, 0.55, 0.45, 0.35, 0.25, 0.2, 0.15]
    )
    return sound, frozenset(paced(period, 0.27, 0.45))


def drums(rng: Rng, seconds: float) -> Variant:
    beat = loguniform(rng, 0.16, 0.34)

    def stroke(number: int) -> FloatArray:
        if number % 4 == 0:
            return 1.4 * tone(glide(0.3, [(0, 130), (0.15, 60), (1, 45)])) * ring(0.3, 0.09)
        if number % 4 == 2:
            return noise(rng, 0.2, 400, 9000) * ring(0.2, 0.05) + 0.6 * modes(0.2, [190], [0.05], [1])
        return 0.35 * noise(rng, 0.1, 6000, 14_000) * ring(0.1, 0.02)

    sound, _ = repeated(rng, seconds, beat, stroke, jitter=0.01, level=0.1)
    return sound, frozenset(paced(beat, 0.2, 0.27))


def violin(rng: Rng, seconds: float) -> Variant:
    pitch, notes = loguniform(rng, 260, 620), max(2, round(seconds * rng.uniform(1.0, 2.5)))
    tones = pitch * rng.choice(SCALE, notes)
    track = np.repeat(tones, -(-count(seconds) // notes))[: count(seconds)]
    track = track * (1 + 0.011 * np.sin(2 * np.pi * rng.uniform(5, 6.5) * np.arange(len(track)) / RATE))
    body = peaks([480, 1100, 2700, 4200], [200, 400, 700, 900], [0.8, 1, 0.8, 0.4], 0.05)
    return unit(filtered(buzz(track.astype(np.float32), 4), body)) * np.abs(drift(rng, seconds, 2, 0.15)), frozenset(
        pitched(pitch, 330, 490)
    )


def music_box(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 1000, 1900), loguniform(rng, 0.16, 0.45)

    def pluck(_: int) -> FloatArray:
        f = pitch * rng.choice(SCALE)
        return modes(0.9, [f, f * 2.0, f * 5.4], [0.3, 0.15, 0.04], [1, 0.25, 0.3])

    sound, _ = repeated(rng, seconds, period, pluck, jitter=0.03)
    return sound, frozenset(paced(period, 0.22, 0.34))


def ball(rng: Rng, seconds: float) -> Variant:
    body = loguniform(rng, 110, 320)
    total = np.zeros(count(seconds), np.float32)
    at, period, gain = 0.05, rng.uniform(0.5, 0.8), 1.0
    while at < seconds - 0.1:
        hit = modes(0.25, [body, body * 2.3, body * 4], [0.045, 0.02, 0.01], [1, 0.4, 0.2]) + 0.2 * noise(
            rng, 0.25, 500, 4000
        ) * ring(0.25, 0.004)
        place(total, hit, at, gain)
        at, period, gain = at + period, period * 0.82, gain * 0.88
        if period < 0.06:
            period, gain = rng.uniform(0.5, 0.8), 1.0
            at += 0.5
    return total, frozenset(pitched(body, 150, 240))
