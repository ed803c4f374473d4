"""encode_variants: clips and the groups they begin -> embeddings of all that ZSTE hears, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.clap import Clap
from sonogloss.errors import ClipError, Code
from sonogloss.records import DeadLetter, FloatArray
from sonogloss.temporal.clips import LabelledClip, dead_clip, read_samples
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sequences import PairGroup, Variant, compose, levelled
from sonogloss.temporal.zste import Questions, needed
from sonogloss.transforms.isolate import out_of_memory, run_isolated
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.progress_file import note

STAGE = "encode_variants"
UNIT = 16  # clips; with the groups they begin, some hundred sounds
BATCH = 32  # sounds a call of the model
_KEPT_CLIPS = 512  # decoded clips kept by a worker: 330 MB of five seconds at 32 kHz

Reader = Callable[[LabelledClip], FloatArray]


@dataclass(frozen=True, kw_only=True)
class ZsteUnit:
    """Clips, to be heard alone, and the groups in which they are A."""

    clips: tuple[LabelledClip, ...]
    groups: tuple[PairGroup, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedUnit:
    """Embeddings [dim] of a unit; a group is there when all its variants are. `encoded` counts calls for a sound."""

    clips: tuple[tuple[LabelledClip, FloatArray], ...]
    groups: tuple[tuple[PairGroup, dict[Variant, FloatArray]], ...]
    encoded: int
    left_out: int
    dead: tuple[DeadLetter, ...] = field(default=())


def cut_zste_units(questions: Questions) -> list[ZsteUnit]:
    """Units of work, in order of id; every clip and every group is in one of them."""
    clips = sorted(questions.clips, key=lambda clip: clip.id)
    units = []
    for start in range(0, len(clips), UNIT):
        part = tuple(clips[start : start + UNIT])
        ids = {clip.id for clip in part}
        units.append(ZsteUnit(clips=part, groups=tuple(g for g in questions.groups if g.first.id in ids)))
    return units


def encode_unit(unit: ZsteUnit, clap: Clap, settings: PairSettings, read: Reader) -> EncodedUnit:
    """Embed a unit's clips and the variants of its groups.

    Args:
        unit: what to hear.
        clap: the model.
        settings: how two clips become one.
        read: gives a clip's levelled samples, or raises ClipError.

    Returns:
        The embeddings. A clip that cannot be read or embedded is a dead letter, and groups with it are left out.
    """
    dead: dict[str, DeadLetter] = {}
    vectors: dict[Hashable, FloatArray] = {}
    encoded = 0
    for sounds in _batches(_sounds(unit, clap, settings, read, dead), BATCH):
        outcomes = run_isolated(lambda batch: list(clap.embed_audio([s.samples for s in batch])), sounds)
        encoded += len(sounds)
        for sound, outcome in zip(sounds, outcomes, strict=True):
            if isinstance(outcome, Exception):
                code = Code.OUT_OF_MEMORY if out_of_memory(outcome) else Code.MODEL_FAILED
                error = ClipError(code, f"{sound.name}: {type(outcome).__name__}: {outcome}")
                dead.setdefault(sound.clip.id, dead_clip(sound.clip, STAGE, error))
            elif not np.isfinite(outcome).all():
                error = ClipError(Code.NOT_FINITE, f"The embedding of {sound.name} is not finite.")
                dead.setdefault(sound.clip.id, dead_clip(sound.clip, STAGE, error))
            else:
                vectors[sound.key] = outcome
    groups = [
        (group, {variant: vectors[group.id, variant] for variant in needed(group)})
        for group in unit.groups
        if all((group.id, variant) in vectors for variant in needed(group))
    ]
    return EncodedUnit(
        clips=tuple((clip, vectors[clip.id]) for clip in unit.clips if clip.id in vectors),
        groups=tuple(groups),
        encoded=encoded,
        left_out=len(unit.groups) - len(groups),
        dead=tuple(dead.values()),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sound:
    key: Hashable
    name: str
    clip: LabelledClip
    samples: FloatArray


def _sounds(
    unit: ZsteUnit, clap: Clap, settings: PairSettings, read: Reader, dead: dict[str, DeadLetter]
) -> Iterator[_Sound]:
    def get(clip: LabelledClip) -> FloatArray | None:
        if clip.id in dead:
            return None
        try:
            return read(clip)
        except ClipError as error:
            dead[clip.id] = dead_clip(clip, STAGE, error)
            return None

    for clip in unit.clips:
        if (samples := get(clip)) is not None:
            yield _Sound(key=clip.id, name="the clip", clip=clip, samples=samples)
    for group in unit.groups:
        first, second = get(group.first), get(group.second)
        if first is None or second is None:
            continue
        for variant in needed(group):
            samples = compose(first, second, variant, settings, sample_rate=clap.sample_rate, window_s=clap.window_s)
            yield _Sound(key=(group.id, variant), name=f"its {variant}", clip=group.first, samples=samples)


def _batches(sounds: Iterator[_Sound], size: int) -> Iterator[list[_Sound]]:
    batch: list[_Sound] = []
    for sound in sounds:
        batch.append(sound)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def clip_reader(clap: Clap, settings: PairSettings) -> Reader:
    """Reads clips as a CLAP hears them in a pair, and keeps the last some hundred: a clip has several partners."""

    @lru_cache(maxsize=_KEPT_CLIPS)
    def read(clip: LabelledClip) -> FloatArray:
        return levelled(read_samples(clip, clap.sample_rate, clap.window_s / 2), settings)

    return read


class _EncodeVariantsFn(beam.DoFn):
    def __init__(self, clap: ClapReference, settings: PairSettings, progress: str | None) -> None:
        self._reference, self._settings, self._progress = clap, settings, progress

    def setup(self) -> None:
        self._clap = self._reference.load()
        self._read = clip_reader(self._clap, self._settings)

    def process(self, unit: ZsteUnit) -> Iterator[EncodedUnit]:
        result = encode_unit(unit, self._clap, self._settings, self._read)
        note(self._progress, done=result.encoded, failed=len(result.dead), units=1)
        yield result


class EncodeVariants(beam.PTransform[PCollection[ZsteUnit], PCollection[EncodedUnit]]):
    """Units -> embeddings, see :func:`encode_unit`."""

    def __init__(self, clap: ClapReference, settings: PairSettings, progress: str | None) -> None:
        super().__init__()
        self._fn = _EncodeVariantsFn(clap, settings, progress)

    def expand(self, pcoll: PCollection[ZsteUnit]) -> PCollection[EncodedUnit]:
        return pcoll | beam.ParDo(self._fn)
