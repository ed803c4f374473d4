"""Training batches: scenes mixed from the pool in the domain of mel power, with captions that are true of them.

A batch is a function of (recipe seed, step) alone, so training resumes exactly. Pairs whose caption would also be true
of another scene of the batch are marked, for they are no negatives: among 256 scenes many a lonely dog meets another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.pocket.pool import FRAME_RATE, FRAMES, Entry, Pool
from recipes.pocket.recipe import REAL_CLASSES, PocketRecipe, feature_extractor
from sonogloss.audio.mel import MelSettings, mel_filters
from sonogloss.records import FloatArray
from sonogloss.soundscapes.captions import Claims, caption_with_claims
from sonogloss.soundscapes.classes import CLASSES
from sonogloss.soundscapes.scenes import Event, Scene, plan_scene, sample_kind, sample_loudness, sample_names
from sonogloss.soundscapes.signal import Rng, far_response

MELS = 64
LABEL_SHARE = 0.12  # how often a single event is captioned by its plain label


@dataclass(frozen=True, kw_only=True)
class Batch:
    """`mels` float16 decibels `[n, 1, 1024, 64]`; `captions`; `also_true[i, j]`: caption j is true of scene i."""

    mels: npt.NDArray[np.float16]
    captions: list[str]
    also_true: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """One mixed scene: its mel power, its plan, and which events are real clips (whose traits nobody knows)."""

    power: FloatArray
    scene: Scene
    unknown: tuple[bool, ...]


class Mixer:
    """Draws scenes from a pool."""

    def __init__(self, pool: Pool, recipe: PocketRecipe) -> None:
        self.pool, self.recipe = pool, recipe
        settings = MelSettings.from_preprocessor(feature_extractor().to_dict())
        filters = mel_filters(settings)
        frequencies = np.linspace(0, settings.sample_rate / 2, len(filters))
        self.centres = (filters * frequencies[:, None]).sum(0) / filters.sum(0)
        self.far = (far_response(self.centres) ** 2).astype(np.float32)
        # White noise of variance 1 has this mel power: the sum of the squared Hann window times each filter's area.
        self.floor = (0.375 * settings.fft_size * filters.sum(0)).astype(np.float32)

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        rng = np.random.default_rng([self.recipe.seed, step])
        mixed = [self.mix(rng) for _ in range(self.recipe.clap_batch)]
        captions, told = zip(*(self._caption(m.scene, rng) for m in mixed), strict=True)
        mels = np.stack([to_decibels(m.power) for m in mixed])[:, None]
        return Batch(mels=mels.astype(np.float16), captions=list(captions), also_true=also_true(mixed, told))

    def mix(self, rng: Rng) -> Mixed:
        """One scene: sounds drawn, varied, placed and summed, over a floor of noise."""
        kind = sample_kind(rng)
        names = self._boosted(rng, sample_names(rng, kind))
        picked = [self._pick(rng, name) for name in names]
        powers = [self._varied(rng, entry) for entry in picked]
        spans, total = plan_scene(rng, names, kind, tuple(len(p) / FRAME_RATE for p in powers))
        frames = min(FRAMES, max(2, round(total * FRAME_RATE)))
        # Files that were edited or synthesised are digitally silent between their sounds; recordings never are.
        amplitude = 0.0 if rng.random() < self.recipe.silent_share else 10 ** (rng.uniform(-75, -55) / 20)
        sum_ = self.floor * amplitude**2 * rng.gamma(1.5, 1 / 1.5, (frames, MELS)).astype(np.float32)
        events = []
        for position, (entry, power, (start, end)) in enumerate(zip(picked, powers, spans, strict=True)):
            gain, distance = sample_loudness(rng, kind, position, len(names))
            factor = 10 ** (gain / 10) * (self.far if distance == "far" else 1.0)
            first = min(frames - 1, round(start * FRAME_RATE))
            length = min(frames - first, round((end - start) * FRAME_RATE) + 1)
            if kind.endswith("background") and position == len(names) - 1:
                power = _looped(power, length)
            part = power[:length]
            sum_[first : first + len(part)] += part * factor
            traits = (entry.traits or frozenset()) | ({distance} if distance else set())
            events.append(Event(name=entry.name, start_s=start, end_s=end, gain_db=gain, traits=traits, seed=0))
        sum_ *= 10 ** (rng.uniform(-8, 4) / 10)
        scene = Scene(kind=kind, events=tuple(events), duration_s=total, seed=0)
        return Mixed(power=sum_, scene=scene, unknown=tuple(entry.traits is None for entry in picked))

    def _boosted(self, rng: Rng, names: tuple[str, ...]) -> tuple[str, ...]:
        """Sometimes one foreground class gives way to a class that has real clips."""
        if not self.pool.has_real or rng.random() > self.recipe.real_boost:
            return names
        new = str(rng.choice([name for name in REAL_CLASSES.values() if name not in names]))
        at = int(rng.integers(max(1, len(names) - 1)))
        return (*names[:at], new, *names[at + 1 :])

    def _pick(self, rng: Rng, name: str) -> Entry:
        real = self.pool.real.get(name)
        entries = real if real and rng.random() < self.recipe.real_share else self.pool.synthetic[name]
        return entries[rng.integers(len(entries))]

    def _varied(self, rng: Rng, entry: Entry) -> FloatArray:
        """An entry with its pace (some per cent), pitch (up to one mel band) and colour slightly changed."""
        power = np.asarray(self.pool.power[entry.start : entry.start + entry.frames])
        frames = max(2, min(FRAMES, round(len(power) * float(np.exp(rng.normal(0, 0.07))))))
        power = power[np.linspace(0, len(power) - 1, frames).astype(int)]
        shift = int(rng.integers(-1, 2))
        if shift:
            power = np.roll(power, shift, axis=1)
            power[:, 0 if shift > 0 else -1] = 1e-10
        knots = rng.normal(0, 3.0, 5)
        equaliser = np.interp(np.arange(MELS), np.linspace(0, MELS - 1, 5), knots)
        return (power * (10 ** (equaliser / 10)).astype(np.float32)).astype(np.float32)

    def _caption(self, scene: Scene, rng: Rng) -> tuple[str, Claims]:
        if scene.kind == "one" and rng.random() < LABEL_SHARE:
            label = CLASSES[scene.events[0].name].label
            return (label if rng.random() < 0.5 else f"the sound of {label}"), (frozenset(),)
        return caption_with_claims(scene, rng)


def _looped(power: FloatArray, frames: int) -> FloatArray:
    """A background lasts as long as the scene."""
    return np.tile(power, (-(-frames // len(power)), 1))[:frames] if len(power) < frames else power


def to_decibels(power: FloatArray) -> FloatArray:
    """Mel power `[frames, 64]` to decibels `[1024, 64]`: whole copies, then silence, as the front end pads."""
    decibels = 10 * np.log10(np.maximum(power, 1e-10))
    full = np.full((FRAMES, MELS), -100.0, np.float32)
    copies = np.tile(decibels, (max(1, FRAMES // len(decibels)), 1))[:FRAMES]
    full[: len(copies)] = copies
    return full


def also_true(mixed: list[Mixed], told: tuple[Claims, ...]) -> npt.NDArray[np.bool_]:
    """`[i, j]`: every trait that caption j claims, scene i has; scenes of another structure never match."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, m in enumerate(mixed):
        names = m.scene.names if m.scene.kind != "overlap" else tuple(sorted(m.scene.names))
        groups[(m.scene.kind, *names)].append(number)
    result = np.eye(len(mixed), dtype=bool)
    for members in groups.values():
        for i in members:
            for j in members:
                result[i, j] = _holds(mixed[i], dict(zip(mixed[j].scene.names, told[j], strict=True)))
    return result


def _holds(mixed: Mixed, claims: dict[str, frozenset[str]]) -> bool:
    for event, unknown in zip(mixed.scene.events, mixed.unknown, strict=True):
        claimed = claims[event.name]
        if unknown:
            claimed = claimed & {"near", "far"}
        if not claimed <= event.traits:
            return False
    return True


def batches(directory: Path, recipe: PocketRecipe, first_step: int, last_step: int) -> Iterator[Batch]:
    """Batches of steps `first_step..last_step - 1`, mixed ahead by one process of its own."""
    context = get_context("spawn")
    queue: Any = context.Queue(maxsize=3)
    worker = context.Process(target=_produce, args=(directory, recipe, first_step, last_step, queue), daemon=True)
    worker.start()
    try:
        for _ in range(first_step, last_step):
            yield queue.get()
    finally:
        worker.terminate()


def _produce(directory: Path, recipe: PocketRecipe, first_step: int, last_step: int, queue: Any) -> None:
    mixer = Mixer(Pool(directory), recipe)
    for step in range(first_step, last_step):
        queue.put(mixer.batch(step))
