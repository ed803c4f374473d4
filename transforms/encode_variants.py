"""encode_variants: clips and the groups they begin -> embeddings of every sound of ZSTE, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

import numpy as np

from sonogloss.clap import Clap
from sonogloss.errors import ClipError, Code
from sonogloss.records import DeadLetter, FloatArray
from sonogloss.temporal.clips import LabelledClip, dead_clip, read_samples
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sequences import PairGroup, Variant, compose, levelled
from sonogloss.temporal.zste import Questions, needed
from sonogloss.transforms.batch_step import Step
from sonogloss.transforms.isolate import as_clip_error, run_isolated
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.progress_file import note

STAGE = "encode_variants"
UNIT = 16  # clips; with the groups they begin, some hundred sounds
BATCH = 32  # sounds a call of the model
_KEPT_CLIPS = 512  # decoded clips kept by a worker: 330 MB of five seconds at 32 kHz

Reader = Callable[[LabelledClip], FloatArray]


@dataclass(frozen=True, kw_only=True)
class ZsteUnit:
    """Clips, each a sound of its own, and the groups in which they come first."""

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


def encode_unit(
    unit: ZsteUnit, clap: Clap, settings: PairSettings, read: Reader, progress: str | None = None
) -> EncodedUnit:
    """Embed a unit's clips and the variants of its groups.

    Args:
        unit: what to embed.
        clap: the model.
        settings: how two clips become one.
        read: gives a clip's levelled samples, or raises ClipError.
        progress: a local file to note progress in.

    Returns:
        The embeddings. A clip that cannot be read or embedded is a dead letter, and groups with it are left out.
    """
    dead: dict[str, DeadLetter] = {}
    vectors: dict[Hashable, FloatArray] = {}
    encoded = 0
    stream = _sounds(unit, clap, settings, read, dead)
    while sounds := list(islice(stream, BATCH)):
        outcomes = run_isolated(lambda batch: list(clap.embed_audio([s.samples for s in batch])), sounds, stage=STAGE)
        encoded += len(sounds)
        for sound, outcome in zip(sounds, outcomes, strict=True):
            if isinstance(outcome, Exception):
                failure = as_clip_error(outcome)
                error = ClipError(failure.code, f"{sound.name}: {failure.message}")
                dead.setdefault(sound.clip.id, dead_clip(sound.clip, STAGE, error))
            elif not np.isfinite(outcome).all():
                error = ClipError(Code.NON_FINITE, f"The embedding of {sound.name} is not finite.")
                dead.setdefault(sound.clip.id, dead_clip(sound.clip, STAGE, error))
            else:
                vectors[sound.key] = outcome
    groups = [
        (group, {variant: vectors[group.id, variant] for variant in needed(group)})
        for group in unit.groups
        if all((group.id, variant) in vectors for variant in needed(group))
    ]
    note(progress, done=encoded, failed=len(dead), units=1)
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


def clip_reader(clap: Clap, settings: PairSettings) -> Reader:
    """Reads clips at the length they have in a pair, and keeps the last some hundred: a clip has several partners."""

    @lru_cache(maxsize=_KEPT_CLIPS)
    def read(clip: LabelledClip) -> FloatArray:
        return levelled(read_samples(clip, clap.sample_rate, clap.window_s / 2), settings)

    return read


@dataclass(frozen=True, kw_only=True)
class ClipReader:
    """Stands for a :func:`clip_reader`, which a worker makes once."""

    clap: ClapReference
    settings: PairSettings

    def load(self) -> Reader:
        """The reader, with nothing kept yet."""
        return clip_reader(self.clap.load(), self.settings)


class EncodeVariants(Step):
    """Units -> embeddings, see :func:`encode_unit`."""

    def __init__(self, clap: ClapReference, settings: PairSettings, progress: str | None) -> None:
        reader = ClipReader(clap=clap, settings=settings)
        super().__init__(encode_unit, clap=clap, settings=settings, read=reader, progress=progress)
