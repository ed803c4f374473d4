"""The pool of sounds to train on: every class in many variants, as mel power, rendered once and mapped from disk.

Rendering costs some 40 ms an event, far more than training can wait for. Mel power adds (sounds that sound together
are, to a good approximation, the sum of their powers), so scenes are mixed from pool entries, half a millisecond each.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from recipes.pocket.recipe import REAL_CLASSES, PocketRecipe, feature_extractor
from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.records import FloatArray
from sonogloss.soundscapes import CLASSES, RATE, render_variant
from sonogloss.soundscapes.signal import colored, leveled, reverberant

FRAMES = 1024
FRAME_RATE = (
    102.3  # the model stretches 1001 frames to 1024; the pool is stored stretched, which spares it the interpolation
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One sound of the pool: rows `start..start+frames` of the power matrix. Real clips have unknown traits (None)."""

    name: str
    start: int
    frames: int
    traits: frozenset[str] | None


class Pool:
    """All entries by class, over one memory-mapped matrix of mel power `[frames, 64]`, float32."""

    def __init__(self, directory: Path) -> None:
        self.power = np.load(directory / "power.npy", mmap_mode="r", allow_pickle=False)
        self.synthetic: dict[str, list[Entry]] = {name: [] for name in CLASSES}
        self.real: dict[str, list[Entry]] = {name: [] for name in REAL_CLASSES.values()}
        for row in json.loads((directory / "entries.json").read_text()):
            traits = None if row["traits"] is None else frozenset(row["traits"])
            entry = Entry(name=row["name"], start=row["start"], frames=row["frames"], traits=traits)
            (self.real if traits is None else self.synthetic)[entry.name].append(entry)

    @property
    def has_real(self) -> bool:
        """Were real clips at hand when the pool was made?"""
        return any(self.real.values())


def build_pool(directory: Path, recipe: PocketRecipe, real_clips: Path | None, workers: int = 2) -> None:
    """Render the pool into a directory; nothing is done when it is there already."""
    if (directory / "entries.json").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[Callable[..., list[tuple[list[str] | None, FloatArray]]], str, tuple[object, ...]]] = []
    for number, name in enumerate(CLASSES):
        jobs.append((_synthetic, name, (name, recipe.pool_seed + number * 10_000, recipe.variants)))
    for name, path, seed in _real_files(real_clips) if real_clips else ():
        jobs.append((_real, name, (path, seed, recipe.real_variants)))
    rows, blocks, start = [], [], 0
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as executor:
        futures = [(name, executor.submit(render, *args)) for render, name, args in jobs]
        for name, future in futures:
            for traits, power in future.result():
                rows.append({"name": name, "start": start, "frames": len(power), "traits": traits})
                blocks.append(power)
                start += len(power)
    np.save(directory / "power.npy", np.concatenate(blocks))
    (directory / "entries.json").write_text(json.dumps(rows))


def _synthetic(name: str, seed: int, variants: int) -> list[tuple[list[str] | None, FloatArray]]:
    """Variants of one class, with their traits."""
    sound = CLASSES[name]
    found: list[tuple[list[str] | None, FloatArray]] = []
    for number in range(variants):
        seconds = np.random.default_rng([seed, number]).uniform(sound.shortest, sound.longest)
        samples, traits = render_variant(name, seed + number, seconds)
        found.append((sorted(traits), mel_power(samples)))
    return found


def _real(path: Path, seed: int, variants: int) -> list[tuple[list[str] | None, FloatArray]]:
    """A real clip: whole, cut to where it sounds, and varied by speed, tone colour and room."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    whole = soxr.resample(samples.mean(axis=1), rate, RATE).astype(np.float32)
    found: list[tuple[list[str] | None, FloatArray]] = [(None, mel_power(leveled(whole)))]
    for number in range(variants):
        rng = np.random.default_rng([seed, number])
        speed = float(np.exp(rng.uniform(np.log(0.8), np.log(1.25))))
        part = whole if rng.random() < 0.4 else _sounding(whole)
        varied = soxr.resample(part, RATE, round(RATE / speed)).astype(np.float32)
        varied = colored(rng, varied)
        if rng.random() < 0.4:
            varied = reverberant(rng, varied)
        found.append((None, mel_power(leveled(varied))))
    return found


def _sounding(samples: FloatArray) -> FloatArray:
    """The stretch between the first and the last 50 ms that lie within 35 dB of the loudest."""
    frame = RATE // 20
    power = np.square(samples[: len(samples) // frame * frame].reshape(-1, frame)).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10**-3.5)
    return samples[loud[0] * frame : (loud[-1] + 1) * frame] if loud.size and len(power) > 10 else samples


def _real_files(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """(our class, file, seed) of the ESC-10 clips of folds 1 to 3: the only real sounds that may be trained on."""
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["class"] in REAL_CLASSES and row["fold"] in ("1", "2", "3"):
                yield REAL_CLASSES[row["class"]], folder / row["filename"], 30_000_000 + int(row["src_id"])


def mel_power(samples: FloatArray) -> FloatArray:
    """Mel power `[frames, 64]` of a sound at 32 kHz, at :data:`FRAME_RATE` frames a second and at most 1024 of them."""
    power = _log_mel().power(torch.from_numpy(samples[None, : 10 * RATE]))[0].clamp_min(1e-10).log()
    frames = min(FRAMES, max(2, round(len(samples) / RATE * FRAME_RATE)))
    stretched = torch.nn.functional.interpolate(power.T[None], size=frames, mode="linear", align_corners=True)[0].T
    return stretched.exp().numpy().astype(np.float32)


_LOG_MEL: list[LogMel] = []


def _log_mel() -> LogMel:
    if not _LOG_MEL:
        _LOG_MEL.append(LogMel(MelSettings.from_preprocessor(feature_extractor().to_dict())))
    return _LOG_MEL[0]
