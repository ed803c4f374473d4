"""Sounds of weather, water, rooms, steps and tools. One variant a function: `(rng, seconds) -> (samples, traits)`."""

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


def rain(rng: Rng, seconds: float) -> Variant:
    density = loguniform(rng, 30, 400)
    bed = noise(rng, seconds, rng.uniform(300, 1200), 12_000, rng.uniform(-0.4, 0.2)) * drift(rng, seconds, 1, 0.05)
    drops = np.zeros(count(seconds), np.float32)
    for at in rng.uniform(0, seconds, int(density * seconds)):
        length = rng.uniform(0.004, 0.015)
        place(
            drops,
            ring(length, length / 3) * tone(glide(length, [(0, rng.uniform(1500, 6000)), (1, 1500)])),
            at,
            rng.exponential(2.0),
        )
    return bed + drops, frozenset({"big"} if density > 180 else {"small"} if density < 70 else set())


def sea(rng: Rng, seconds: float) -> Variant:
    period = rng.uniform(3.0, 7.0)
    t = np.arange(count(seconds)) / RATE + rng.uniform(0, period)
    wave = (0.5 + 0.5 * np.sin(2 * np.pi * t / period + 0.6 * np.sin(2 * np.pi * t / period))) ** rng.uniform(1.3, 2.5)
    low = noise(rng, seconds, 40, 500, -0.7) * (0.4 + 0.6 * wave)
    hiss = noise(rng, seconds, 600, 9000, -0.3) * (0.08 + wave**2)
    return (low + 1.1 * hiss).astype(np.float32) * drift(rng, seconds, 2, 0.06), frozenset(paced(period, 4.0, 6.0))


def fire(rng: Rng, seconds: float) -> Variant:
    density = loguniform(rng, 8, 45)
    bed = noise(rng, seconds, 30, 900, -0.8) * np.abs(drift(rng, seconds, 6, 0.25))
    total = 0.25 * bed
    for at in rng.uniform(0, seconds, int(density * seconds)):
        length = rng.uniform(0.003, 0.02)
        place(total, noise(rng, length, 800, 13_000) * ring(length, length / 4), at, rng.exponential(1.6))
    return total, frozenset({"big"} if density > 28 else {"small"} if density < 13 else set())


def wind(rng: Rng, seconds: float) -> Variant:
    center = loguniform(rng, 180, 700)
    gust = np.abs(drift(rng, seconds, 0.8, 0.5)) + 0.1
    low = noise(rng, seconds, 30, 300, -0.8)
    howl = unit(
        filtered(noise(rng, seconds), peaks([center, center * 2.1], [center * 0.12, center * 0.25], [1, 0.35], 0.004))
    )
    return (low * gust + 0.8 * howl * gust**2).astype(np.float32), frozenset(pitched(center, 270, 480))


def thunder(rng: Rng, seconds: float) -> Variant:
    def clap(_: int) -> FloatArray:
        length = min(seconds, rng.uniform(2.5, 4.5))
        rumble = (
            noise(rng, length, 20, rng.uniform(120, 320), -0.9)
            * ring(length, length / 3, 0.08)
            * np.abs(drift(rng, length, 7, 0.6))
        )
        crack = noise(rng, length, 200, 5000, -0.5) * ring(length, 0.12, 0.004)
        return rumble + rng.uniform(0, 0.8) * crack

    sound, calls = repeated(rng, seconds, rng.uniform(2.8, 4.0), clap, level=0.4)
    return sound, frozenset(counted(calls))


def drip(rng: Rng, seconds: float) -> Variant:
    pitch, period = loguniform(rng, 700, 1900), loguniform(rng, 0.22, 1.1)

    def drop(_: int) -> FloatArray:
        start = pitch * np.exp(rng.normal(0, 0.12))
        return tone(glide(0.09, [(0, start), (1, start * rng.uniform(1.4, 2.0))])) * ring(0.09, 0.02) + 0.1 * noise(
            rng, 0.09, 3000, 9000
        ) * ring(0.09, 0.003)

    sound, calls = repeated(rng, seconds, period, drop, jitter=0.12)
    return sound, frozenset(paced(period, 0.35, 0.75) | counted(calls))


def pouring(rng: Rng, seconds: float) -> Variant:
    start, end = loguniform(rng, 350, 700), loguniform(rng, 900, 2200)
    total = 0.25 * noise(rng, seconds, 500, 9000, -0.3)
    for at in np.sort(rng.uniform(0, seconds, int(70 * seconds))):
        center = start + (end - start) * at / seconds
        length = rng.uniform(0.02, 0.06)
        pitch = center * np.exp(0.25 * rng.standard_normal())
        place(
            total,
            tone(glide(length, [(0, pitch), (1, pitch * 1.25)])) * swell(length, 0.004, length / 2),
            at,
            rng.exponential(0.6),
        )
    return total, frozenset()


def glass(rng: Rng, seconds: float) -> Variant:
    def smash(_: int) -> FloatArray:
        total = np.zeros(count(1.4), np.float32)
        place(total, noise(rng, 0.1, 1500, 14_000) * ring(0.1, 0.02), 0, 1.5)
        for _ in range(round(loguniform(rng, 12, 50))):
            pitch = loguniform(rng, 2200, 9500)
            shard = modes(0.25, [pitch, pitch * 1.47, pitch * 2.1], [0.04, 0.025, 0.015], [1, 0.5, 0.3])
            place(total, shard, min(1.1, rng.exponential(0.18)), rng.exponential(0.5))
        return total

    sound, calls = repeated(rng, seconds, rng.uniform(1.3, 2.4), smash)
    return sound, frozenset(counted(calls))


def footsteps(rng: Rng, seconds: float) -> Variant:
    period, center = loguniform(rng, 0.3, 0.85), loguniform(rng, 120, 420)

    def step(number: int) -> FloatArray:
        heel = modes(0.2, [center, center * 2.3, center * 4.1], [0.03, 0.015, 0.008], [1, 0.5, 0.3])
        scuff = noise(rng, 0.2, 1200, 7000) * ring(0.2, 0.03, 0.02)
        return heel * (1.0 if number % 2 else 0.8) + 0.12 * scuff

    sound, _ = repeated(rng, seconds, period, step, jitter=0.05)
    return sound, frozenset(paced(period, 0.42, 0.65))


def knock(rng: Rng, seconds: float) -> Variant:
    body, fast = loguniform(rng, 140, 420), loguniform(rng, 0.13, 0.3)

    def burst(_: int) -> FloatArray:
        total = np.zeros(count(1.4), np.float32)
        for number in range(int(rng.integers(2, 5))):
            hit = modes(0.2, [body, body * 1.9, body * 3.3], [0.035, 0.02, 0.012], [1, 0.6, 0.3]) + 0.2 * noise(
                rng, 0.2, 800, 5000
            ) * ring(0.2, 0.004)
            place(total, hit, number * fast, rng.uniform(0.7, 1.1))
        return total

    sound, _ = repeated(rng, seconds, rng.uniform(1.3, 2.2), burst)
    return sound, frozenset(pitched(body, 190, 310) | paced(fast, 0.17, 0.24))


def typing(rng: Rng, seconds: float) -> Variant:
    period, center = loguniform(rng, 0.08, 0.22), loguniform(rng, 1600, 3800)

    def key(_: int) -> FloatArray:
        down = noise(rng, 0.05, center * 0.6, center * 2.6) * ring(0.05, 0.005)
        place(down, noise(rng, 0.02, center, center * 3) * ring(0.02, 0.003), rng.uniform(0.02, 0.03), 0.5)
        return down

    sound, _ = repeated(rng, seconds, period, key, jitter=0.45, level=0.3)
    return sound, frozenset(paced(period, 0.11, 0.17))


def clock(rng: Rng, seconds: float) -> Variant:
    period, center = loguniform(rng, 0.25, 1.0), loguniform(rng, 1500, 4500)

    def tick(number: int) -> FloatArray:
        shift = 1.0 if number % 2 else 0.86
        return modes(0.06, [center * shift, center * 1.7 * shift], [0.006, 0.004], [1, 0.7]) + 0.3 * noise(
            rng, 0.06, 2500, 12_000
        ) * ring(0.06, 0.002)

    sound, _ = repeated(rng, seconds, period, tick, jitter=0.0, level=0.05)
    return sound, frozenset(paced(period, 0.4, 0.75))


def hammer(rng: Rng, seconds: float) -> Variant:
    period, body = loguniform(rng, 0.3, 0.9), loguniform(rng, 500, 1400)

    def hit(_: int) -> FloatArray:
        metal = modes(0.3, [body, body * 2.76, body * 5.4], [0.06, 0.05, 0.03], [0.7, 1, 0.6])
        return metal + modes(0.3, [160], [0.03], [1.2]) + 0.5 * noise(rng, 0.3, 1500, 12_000) * ring(0.3, 0.006)

    sound, calls = repeated(rng, seconds, period, hit, jitter=0.08)
    return sound, frozenset(paced(period, 0.42, 0.68) | counted(calls))


def creak(rng: Rng, seconds: float) -> Variant:
    center, length = loguniform(rng, 500, 1300), rng.uniform(0.8, 1.6)

    def door(_: int) -> FloatArray:
        rate = glide(length, [(0, 25), (0.4, rng.uniform(50, 90)), (1, rng.uniform(25, 60))]) * drift(
            rng, length, 10, 0.1
        )
        squeak = filtered(
            buzz(rate, 60), peaks([center, center * 1.8, center * 3.1], [60, 90, 160], [1, 0.7, 0.4], 0.002)
        )
        return unit(squeak) * swell(length, 0.1, 0.2)

    sound, calls = repeated(rng, seconds, length + rng.uniform(0.4, 1.3), door)
    return sound, frozenset(pitched(center, 650, 1000) | counted(calls))


def helicopter(rng: Rng, seconds: float) -> Variant:
    rate = loguniform(rng, 9, 22)
    t = phase_of(rng, seconds, rate)
    chop = np.exp(-6 * (t % 1.0)) + 0.15
    low = noise(rng, seconds, 25, 350, -0.7)
    air = noise(rng, seconds, 300, 4500, -0.6)
    whine = tone((rng.uniform(500, 1400) * drift(rng, seconds, 1, 0.01)).astype(np.float32), (1, 0.4))
    return ((low + 0.5 * air) * chop + 0.03 * whine).astype(np.float32), frozenset(paced(1 / rate, 1 / 17, 1 / 12))


def phase_of(rng: Rng, seconds: float, rate: float) -> FloatArray:
    """Turns of a wheel that goes round `rate` times a second, slightly unsteady."""
    return np.asarray(np.cumsum(rate * drift(rng, seconds, 1, 0.02)) / RATE, np.float32)


def chainsaw(rng: Rng, seconds: float) -> Variant:
    idle, full = rng.uniform(45, 75), loguniform(rng, 100, 190)
    knots = [(0.0, full)] + [(x, rng.choice([idle, full, full])) for x in np.linspace(0.15, 1, max(2, int(seconds)))]
    track = (glide(seconds, knots) * drift(rng, seconds, 15, 0.02)).astype(np.float32)
    engine = filtered(buzz(track, 18), peaks([400, 1300, 3000, 5000], [300, 600, 1000, 1500], [0.8, 1, 0.8, 0.4]))
    return unit(engine) + 0.3 * noise(rng, seconds, 1500, 9000) * np.abs(drift(rng, seconds, 30, 0.4)), frozenset(
        pitched(full, 120, 160)
    )


def engine(rng: Rng, seconds: float) -> Variant:
    base = loguniform(rng, 22, 60)
    rev = rng.random() < 0.4
    points = [(0, base), (0.4, base * 2.2), (0.7, base * 1.3), (1, base)] if rev else [(0, base), (1, base)]
    track = (glide(seconds, points) * drift(rng, seconds, 6, 0.02)).astype(np.float32)
    sound = filtered(buzz(track, 14), peaks([90, 220, 480], [50, 90, 200], [1, 0.7, 0.3], 0.008))
    return unit(sound) + 0.08 * noise(rng, seconds, 100, 3000, -0.5), frozenset({"revving"} if rev else {"idling"})


def drill(rng: Rng, seconds: float) -> Variant:
    pitch, length = loguniform(rng, 650, 1500), rng.uniform(0.8, 2.0)

    def push(_: int) -> FloatArray:
        track = glide(
            length,
            [(0, pitch * 0.3), (0.12, pitch), (0.5, pitch * rng.uniform(0.8, 0.95)), (0.9, pitch), (1, pitch * 0.4)],
        )
        return unit(buzz(track, 5) + 0.25 * noise(rng, length, 2000, 10_000)) * swell(length, 0.05, 0.1)

    sound, _ = repeated(rng, seconds, length + rng.uniform(0.25, 0.7), push)
    return sound, frozenset(pitched(pitch, 850, 1200))


def gunshot(rng: Rng, seconds: float) -> Variant:
    period = loguniform(rng, 0.25, 1.6)

    def shot(_: int) -> FloatArray:
        return noise(rng, 0.7, 80, 9000, -0.35) * (ring(0.7, 0.025, 0.0005) + 0.12 * ring(0.7, 0.18))

    sound, calls = repeated(rng, seconds, period, shot, jitter=0.2)
    return sound, frozenset(paced(period, 0.4, 1.1) | counted(calls))
