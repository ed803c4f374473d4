"""Sounds of animals and people. One variant a function: `(rng, seconds) -> (samples, traits)`."""

from __future__ import annotations

import numpy as np

from sonogloss.records import FloatArray
from sonogloss.soundscapes.signal import (
    RATE,
    Rng,
    buzz,
    count,
    drift,
    filtered,
    glide,
    loguniform,
    noise,
    peaks,
    place,
    repeated,
    ring,
    speech,
    swell,
    tone,
    unit,
)

Variant = tuple[FloatArray, frozenset[str]]


def pitched(value: float, low: float, high: float) -> set[str]:
    """The trait of a pitch or size: high above one bound, low under the other."""
    return {"high"} if value > high else {"low"} if value < low else set()


def paced(period: float, fast: float, slow: float) -> set[str]:
    """The trait of a repetition: fast under one period in seconds, slow over the other."""
    return {"fast"} if period < fast else {"slow"} if period > slow else set()


def counted(calls: int) -> set[str]:
    """The trait of how often: once, twice or many."""
    return {"once"} if calls == 1 else {"twice"} if calls == 2 else {"many"}


def dog(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 220, 750), loguniform(rng, 0.32, 1.1)

    def bark(_: int) -> FloatArray:
        length = rng.uniform(0.12, 0.25)
        track = glide(length, [(0, pitch * 0.8), (0.25, pitch * rng.uniform(1.2, 1.5)), (1, pitch * 0.6)])
        curve = peaks([pitch * 2.1, pitch * 4.2, 2600], [pitch * 0.8, pitch, 900], [1, 0.6, 0.25])
        return unit(filtered(buzz(track, 8) + 0.25 * noise(rng, length), curve)) * swell(length, 0.012, 0.09)

    sound, calls = repeated(rng, seconds, period, bark, jitter=0.3)
    return sound, frozenset(pitched(pitch, 330, 520) | paced(period, 0.45, 0.8) | counted(calls))


def rooster(rng: Rng, seconds: float) -> Variant:
    pitch = loguniform(rng, 520, 900)

    def crow(_: int) -> FloatArray:
        parts = [(0.16, 0.8, 0.9), (0.14, 0.95, 1.0), (0.2, 1.1, 1.2), (rng.uniform(0.6, 1.1), 1.25, 0.8)]
        total = np.zeros(count(2.2), np.float32)
        at = 0.0
        for length, start, end in parts:
            track = glide(length, [(0, pitch * start), (0.3, pitch * max(start, end)), (1, pitch * end)])
            curve = peaks([pitch * 1.1, 2200, 3400], [300, 500, 600], [0.7, 1, 0.5])
            place(
                total,
                unit(filtered(buzz(track * drift(rng, length, 30, 0.02), 7), curve)) * swell(length, 0.03, 0.06),
                at,
            )
            at += length + rng.uniform(0.02, 0.07)
        return total

    sound, calls = repeated(rng, seconds, rng.uniform(2.3, 3.2), crow, jitter=0.1)
    return sound, frozenset(pitched(pitch, 620, 760) | counted(calls))


def cat(rng: Rng, seconds: float) -> Variant:
    pitch, length = loguniform(rng, 380, 950), rng.uniform(0.5, 1.1)

    def meow(_: int) -> FloatArray:
        track = glide(length, [(0, pitch * 0.85), (0.35, pitch * 1.15), (1, pitch * 0.7)])
        source = buzz(track * drift(rng, length, 12, 0.01), 6)
        bright = filtered(source, peaks([900, 2600, 4200], [250, 500, 600], [0.8, 1, 0.4]))
        dark = filtered(source, peaks([650, 1200, 3000], [200, 300, 500], [1, 0.7, 0.2]))
        move = glide(length, [(0, 0), (0.3, 1), (1, 0)])
        return unit(bright * move + dark * (1 - move)) * swell(length, 0.08, 0.2)

    sound, calls = repeated(rng, seconds, length + rng.uniform(0.3, 1.2), meow)
    return sound, frozenset(pitched(pitch, 500, 720) | counted(calls))


def cow(rng: Rng, seconds: float) -> Variant:
    pitch, length = loguniform(rng, 75, 170), rng.uniform(1.0, 2.0)

    def moo(_: int) -> FloatArray:
        track = glide(length, [(0, pitch * 0.85), (0.3, pitch), (0.8, pitch * 1.1), (1, pitch * 0.8)])
        curve = peaks([280, 620, 1300], [90, 160, 300], [1, 0.6, 0.15], 0.005)
        return unit(filtered(buzz(track, 7), curve)) * swell(length, 0.2, 0.35)

    sound, calls = repeated(rng, seconds, length + rng.uniform(0.4, 1.2), moo)
    return sound, frozenset(pitched(pitch, 95, 135) | counted(calls))


def sheep(rng: Rng, seconds: float) -> Variant:
    pitch, length, wobble = loguniform(rng, 260, 560), rng.uniform(0.6, 1.2), rng.uniform(7, 12)

    def bleat(_: int) -> FloatArray:
        t = np.arange(count(length)) / RATE
        shake = 1 + 0.06 * np.sin(2 * np.pi * wobble * t)
        track = (glide(length, [(0, pitch), (0.2, pitch * 1.1), (1, pitch * 0.9)]) * shake).astype(np.float32)
        loud = (0.55 + 0.45 * np.sin(2 * np.pi * wobble * t + 1)).astype(np.float32)
        curve = peaks([850, 1600, 2700], [180, 260, 400], [1, 0.7, 0.4])
        return unit(filtered(buzz(track, 8), curve)) * loud * swell(length, 0.05, 0.15)

    sound, calls = repeated(rng, seconds, length + rng.uniform(0.3, 1.2), bleat)
    return sound, frozenset(pitched(pitch, 330, 450) | counted(calls))


def duck(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 180, 330), loguniform(rng, 0.22, 0.6)

    def quack(_: int) -> FloatArray:
        track = glide(0.18, [(0, pitch * 1.1), (1, pitch * 0.85)])
        curve = peaks([1150, 1900, 3100], [160, 240, 500], [1, 0.9, 0.5])
        return unit(filtered(buzz(track, 14) + 0.2 * noise(rng, 0.18), curve)) * swell(0.18, 0.015, 0.06)

    sound, calls = repeated(rng, seconds, period, quack, jitter=0.2)
    return sound, frozenset(paced(period, 0.3, 0.45) | counted(calls))


def owl(rng: Rng, seconds: float) -> Variant:
    pitch = loguniform(rng, 300, 480)

    def hoot(number: int) -> FloatArray:
        length = 0.55 if number % 3 == 2 else 0.25
        track = glide(length, [(0, pitch * 0.97), (0.3, pitch), (1, pitch * 0.93)])
        return tone(track, (1, 0.12, 0.03)) * swell(length, 0.08, 0.12)

    sound, calls = repeated(rng, seconds, rng.uniform(0.5, 0.9), hoot, jitter=0.12)
    return sound, frozenset(counted(calls))


def frog(rng: Rng, seconds: float) -> Variant:
    pulse, period, center = loguniform(rng, 28, 60), loguniform(rng, 0.45, 1.3), loguniform(rng, 500, 1300)

    def croak(_: int) -> FloatArray:
        length = rng.uniform(0.25, 0.45)
        train = buzz(glide(length, [(0, pulse), (1, pulse * 1.25)]), 40)
        return unit(filtered(train, peaks([center, center * 2.2], [120, 250], [1, 0.5], 0.003))) * swell(
            length, 0.05, 0.08
        )

    sound, calls = repeated(rng, seconds, period, croak)
    return sound, frozenset(pitched(center, 680, 950) | paced(period, 0.6, 1.0) | counted(calls))


def crickets(rng: Rng, seconds: float) -> Variant:
    pitch, pulses, period = loguniform(rng, 3200, 6000), rng.uniform(22, 45), loguniform(rng, 0.25, 0.9)

    def chirp(_: int) -> FloatArray:
        length = period * rng.uniform(0.45, 0.6)
        t = np.arange(count(length)) / RATE
        gate = np.clip(np.sin(2 * np.pi * pulses * t), 0, 1) ** 0.7
        return (np.sin(2 * np.pi * pitch * t) * gate).astype(np.float32) * swell(length, 0.02, 0.02)

    sound, _ = repeated(rng, seconds, period, chirp, jitter=0.03, level=0.05)
    return sound + 0.01 * noise(rng, seconds, 2000, 9000), frozenset(paced(period, 0.35, 0.65))


def birds(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 1900, 4600), loguniform(rng, 0.22, 0.8)

    def tweet(_: int) -> FloatArray:
        length = rng.uniform(0.06, 0.22)
        start, middle, end = pitch * np.exp(rng.normal(0, 0.18, 3))
        track = glide(length, [(0, start), (0.5, middle), (1, end)])
        if rng.random() < 0.3:
            track = (track * (1 + 0.08 * np.sin(2 * np.pi * 45 * np.arange(len(track)) / RATE))).astype(np.float32)
        return tone(track, (1, 0.08)) * swell(length, 0.015, 0.03)

    sound, _ = repeated(rng, seconds, period, tweet, jitter=0.5, level=0.4)
    return sound, frozenset(pitched(pitch, 2500, 3600) | paced(period, 0.3, 0.55))


def bee(rng: Rng, seconds: float) -> Variant:
    pitch = loguniform(rng, 150, 300)
    track = (pitch * drift(rng, seconds, 3, 0.06)).astype(np.float32)
    sound = filtered(
        buzz(track, 5), peaks([pitch * 1.5, pitch * 4, 2500], [pitch, pitch * 2, 1200], [1, 0.6, 0.12], 0.01)
    )
    return unit(sound) * np.abs(drift(rng, seconds, 1.5, 0.35)), frozenset(pitched(pitch, 185, 240))


def baby(rng: Rng, seconds: float) -> Variant:
    pitch, length = loguniform(rng, 330, 560), rng.uniform(0.6, 1.2)

    def wail(_: int) -> FloatArray:
        span = length * rng.uniform(0.8, 1.2)
        track = glide(span, [(0, pitch * 0.8), (0.2, pitch * 1.15), (0.7, pitch * 1.05), (1, pitch * 0.75)])
        source = buzz(track * drift(rng, span, 18, 0.02), 5) + 0.1 * noise(rng, span)
        return unit(filtered(source, peaks([1100, 2900, 4600], [350, 600, 900], [1, 0.8, 0.35]))) * swell(
            span, 0.06, 0.12
        )

    sound, calls = repeated(rng, seconds, length + rng.uniform(0.15, 0.4), wail, jitter=0.1)
    return sound, frozenset(pitched(pitch, 390, 480) | counted(calls))


def sneeze(rng: Rng, seconds: float) -> Variant:
    size = loguniform(rng, 0.8, 1.35)

    def achoo(_: int) -> FloatArray:
        total = np.zeros(count(1.1), np.float32)
        gasp = rng.uniform(0.15, 0.4)
        place(total, noise(rng, gasp, 500 * size, 3500) * glide(gasp, [(0, 0), (1, 1)]), 0, 0.15)
        length = rng.uniform(0.25, 0.4)
        voiced = buzz(glide(length, [(0, 300 * size), (0.3, 420 * size), (1, 180 * size)]), 8)
        burst = 0.9 * noise(rng, length, 900, 11_000) + 0.8 * unit(
            filtered(voiced, peaks([700 * size, 1700 * size], [200, 300], [1, 0.6]))
        )
        place(total, burst * ring(length, 0.09, 0.01), gasp + 0.04, 1.3)
        return total

    sound, calls = repeated(rng, seconds, rng.uniform(1.2, 2.2), achoo)
    return sound, frozenset(counted(calls))


def snore(rng: Rng, seconds: float) -> Variant:
    rough, period = loguniform(rng, 25, 70), rng.uniform(1.6, 3.0)

    def breath(_: int) -> FloatArray:
        total = np.zeros(count(period), np.float32)
        inhale = period * rng.uniform(0.4, 0.5)
        train = buzz(glide(inhale, [(0, rough), (0.6, rough * 1.25), (1, rough)]) * drift(rng, inhale, 25, 0.08), 12)
        place(
            total,
            unit(filtered(train + 0.3 * noise(rng, inhale), peaks([250, 900], [180, 500], [1, 0.3], 0.01)))
            * swell(inhale, 0.3, 0.1),
            0,
        )
        exhale = period * 0.3
        place(total, noise(rng, exhale, 300, 3000) * swell(exhale, 0.1, 0.3), inhale + 0.1, 0.15)
        return total

    sound, calls = repeated(rng, seconds, period, breath, jitter=0.05)
    return sound, frozenset(pitched(rough, 36, 52) | counted(calls))


def laugh(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 130, 380), rng.uniform(0.17, 0.26)

    def ha(number: int) -> FloatArray:
        fall = 1.25 - 0.06 * (number % 9)
        track = glide(0.13, [(0, pitch * fall), (1, pitch * fall * 0.85)])
        voiced = filtered(buzz(track, 7), peaks([750, 1350, 2700], [120, 150, 250], [1, 0.6, 0.25]))
        return (
            unit(voiced + 0.15 * noise(rng, 0.13, 1000, 6000))
            * swell(0.13, 0.03, 0.06)
            * (0.05 if number % 9 == 8 else 1.0)
        )

    sound, _ = repeated(rng, seconds, period, ha, jitter=0.06, level=0.2)
    return sound, frozenset(pitched(pitch, 180, 270))


def man(rng: Rng, seconds: float) -> Variant:
    rate = rng.uniform(3.2, 6.5)
    return speech(rng, seconds, loguniform(rng, 85, 135), rng.uniform(0.92, 1.02), rate), frozenset(
        paced(1 / rate, 0.18, 0.27)
    )


def woman(rng: Rng, seconds: float) -> Variant:
    rate = rng.uniform(3.2, 6.5)
    return speech(rng, seconds, loguniform(rng, 190, 270), rng.uniform(1.14, 1.28), rate), frozenset(
        paced(1 / rate, 0.18, 0.27)
    )


def applause(rng: Rng, seconds: float) -> Variant:
    hands = round(loguniform(rng, 6, 60))
    total = np.zeros(count(seconds), np.float32)
    kernels = [
        noise(rng, 0.04, c * 0.6, c * 2.5) * ring(0.04, 0.006)
        for c in np.exp(rng.uniform(np.log(700), np.log(2600), 8))
    ]
    for _ in range(hands):
        period, at = rng.uniform(0.18, 0.32), rng.uniform(0, 0.3)
        gain, kernel = np.exp(0.5 * rng.standard_normal()), kernels[rng.integers(8)]
        while at < seconds:
            place(total, kernel, at, gain)
            at += period * np.exp(0.1 * rng.standard_normal())
    return total, frozenset({"big"} if hands > 30 else {"small"} if hands < 13 else set())
