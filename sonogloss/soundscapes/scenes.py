"""Scenes: one to three events on a timeline, in sequence, at once, or over a background; rendered as sound.

Everything is a function of the seed: the same seed gives the same scene, sound and captions on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sonogloss.records import FloatArray
from sonogloss.soundscapes.classes import AMBIENT, CLASSES
from sonogloss.soundscapes.signal import (
    FAR_GAIN_DB,
    RATE,
    Rng,
    colored,
    count,
    far_response,
    filtered,
    leveled,
    place,
    reverberant,
)

LONGEST_S = 10.0
KINDS = {
    "one": 0.28,
    "sequence": 0.24,
    "overlap": 0.14,
    "background": 0.18,
    "sequence of three": 0.06,
    "sequence over background": 0.10,
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One sound on the timeline. `traits` holds all that a caption may claim of it, `near` and `far` included."""

    name: str
    start_s: float
    end_s: float
    gain_db: float
    traits: frozenset[str]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Some events and their relation; in a scene with a background, the background is the last event."""

    kind: str
    events: tuple[Event, ...]
    duration_s: float
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the events, in their order."""
        return tuple(event.name for event in self.events)


def render_variant(name: str, seed: int, seconds: float) -> tuple[FloatArray, frozenset[str]]:
    """One variant of a class: samples at 32 kHz leveled to -20 dB, with random tone color and room, and its traits.

    Raises:
        KeyError: there is no such class.
    """
    samples, traits = _variant(name, seed, seconds)
    return samples.copy(), traits


@lru_cache(maxsize=8)  # a scene is planned, which needs the traits, and rendered right after
def _variant(name: str, seed: int, seconds: float) -> tuple[FloatArray, frozenset[str]]:
    rng = np.random.default_rng([seed, 1])
    samples, traits = CLASSES[name].render(rng, seconds)
    if rng.random() < 0.8:
        samples = colored(rng, samples)
    if rng.random() < 0.5:
        samples = reverberant(rng, samples)
    return leveled(samples), traits


def plan_scene(
    rng: Rng, names: tuple[str, ...], kind: str, lengths: tuple[float, ...]
) -> tuple[list[tuple[float, float]], float]:
    """Where the events lie: (start, end) in seconds for each, and the length of the scene."""
    gap = rng.uniform(0.05, 0.4)
    if kind in ("sequence", "sequence of three", "sequence over background"):
        row = lengths[:-1] if kind.endswith("background") else lengths
        scale = min(1.0, (LONGEST_S - 0.2 - gap * len(row)) / sum(row))
        spans, at = [], 0.1
        for length in row:
            spans.append((at, at + length * scale))
            at += length * scale + gap
        if kind.endswith("background"):
            spans.append((0.0, at))
        return spans, at
    if kind == "overlap":
        total = max(lengths) + rng.uniform(0, 1)
        return [(start := rng.uniform(0, total - length), start + length) for length in lengths], total
    if kind == "background":
        total = max(lengths[1], lengths[0] + 0.5)
        start = rng.uniform(0, total - lengths[0])
        return [(start, start + lengths[0]), (0.0, total)], total
    return [(0.0, lengths[0])], lengths[0]


def sample_kind(rng: Rng) -> str:
    """A kind of scene, by the shares of :data:`KINDS`."""
    return str(rng.choice(list(KINDS), p=list(KINDS.values())))


def sample_names(rng: Rng, kind: str, classes: tuple[str, ...] = tuple(CLASSES)) -> tuple[str, ...]:
    """Distinct classes for a kind of scene; a background is an ambient class."""
    size = {"one": 1, "sequence of three": 3, "sequence over background": 3}.get(kind, 2)
    if not kind.endswith("background"):
        return tuple(str(name) for name in rng.choice(classes, size, replace=False))
    below = str(rng.choice([name for name in classes if name in AMBIENT]))
    above = rng.choice([name for name in classes if name != below], size - 1, replace=False)
    return (*(str(name) for name in above), below)


def sample_loudness(rng: Rng, kind: str, position: int, size: int) -> tuple[float, str | None]:
    """Gain in dB and distance (near, far or neither) of the event at a position of a scene."""
    if kind.endswith("background") and position == size - 1:
        return float(rng.uniform(-14, -7)), None
    distance = rng.choice(["near", "far", "between"], p=[0.2, 0.2, 0.6])
    if distance == "far":
        return FAR_GAIN_DB + float(rng.normal(0, 1.5)), "far"
    return float(rng.normal(3 if distance == "near" else -3, 1.5)), "near" if distance == "near" else None


def sample_scene(seed: int, classes: tuple[str, ...] = tuple(CLASSES)) -> Scene:
    """The scene of a seed. `classes` narrows the vocabulary, for example to one domain."""
    rng = np.random.default_rng([seed, 0])
    kind = sample_kind(rng)
    names = sample_names(rng, kind, classes)
    lengths = tuple(float(rng.uniform(CLASSES[n].shortest, CLASSES[n].longest)) for n in names)
    spans, total = plan_scene(rng, names, kind, lengths)
    events = []
    for position, (name, (start, end)) in enumerate(zip(names, spans, strict=True)):
        gain, distance = sample_loudness(rng, kind, position, len(names))
        event_seed = int(rng.integers(2**62))
        traits = render_variant(name, event_seed, end - start)[1] | ({distance} if distance else set())
        events.append(
            Event(name=name, start_s=start, end_s=end, gain_db=gain, traits=frozenset(traits), seed=event_seed)
        )
    return Scene(kind=kind, events=tuple(events), duration_s=total, seed=seed)


def render_scene(scene: Scene) -> FloatArray:
    """The sound of a scene: float32 mono at 32 kHz, peaks within [-1, 1], a faint noise floor, `duration_s` long."""
    rng = np.random.default_rng([scene.seed, 2])
    total = (10 ** (rng.uniform(-75, -55) / 20) * rng.standard_normal(count(scene.duration_s))).astype(np.float32)
    for event in scene.events:
        samples, _ = render_variant(event.name, event.seed, event.end_s - event.start_s)
        if "far" in event.traits:
            samples = filtered(samples, far_response)
        fade = min(len(samples) // 2, RATE // 50)
        samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        place(total, samples, event.start_s, 10 ** (event.gain_db / 20))
    total *= 10 ** (rng.uniform(-8, 4) / 20)
    peak = float(np.abs(total).max())
    return (total / max(1.0, peak / 0.99)).astype(np.float32)
