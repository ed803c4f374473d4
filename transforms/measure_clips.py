"""measure_clips: labelled clips -> parts with their mel powers, from which post-training composes pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from sonogloss import files
from sonogloss.records import DeadLetter
from sonogloss.temporal.clips import LabelledClip
from sonogloss.temporal.config import PairSettings
from sonogloss.transforms.batch_step import Gather
from sonogloss.transforms.progress_file import note

if TYPE_CHECKING:  # it stands on torch, which is the worker's business
    from sonogloss.audio.mel import MelSettings

COMMITTED = "clips.json"
UNIT = 64


@dataclass(frozen=True, kw_only=True)
class MeasuredUnit:
    """A part on disk, `NAME.parquet` and `NAME.npy`, and the clips that could not be read."""

    name: str
    clips: int
    dead: tuple[DeadLetter, ...]


def cut_clip_units(clips: Sequence[LabelledClip]) -> list[tuple[LabelledClip, ...]]:
    """Units of work, in order of id."""
    ordered = sorted(clips, key=lambda clip: clip.id)
    return [tuple(ordered[start : start + UNIT]) for start in range(0, len(ordered), UNIT)]


def measure_unit(
    unit: tuple[LabelledClip, ...],
    *,
    output: str,
    mel: MelSettings,
    settings: PairSettings,
    progress: str | None = None,
) -> MeasuredUnit:
    """Measure a unit's clips and write the part; its name follows from the clips."""
    from sonogloss.audio.mel import LogMel
    from sonogloss.temporal.features import measure_clips, write_part

    measured = measure_clips(unit, LogMel(mel), settings)
    name = "part-" + hashlib.sha256("\x00".join(clip.id for clip in unit).encode()).hexdigest()[:16]
    write_part(output, name, measured)
    note(progress, done=len(measured.clips), failed=len(measured.dead), units=1)
    return MeasuredUnit(name=name, clips=len(measured.clips), dead=measured.dead)


def commit_clips(units: Iterable[MeasuredUnit], *, output: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Write `clips.json`, last: `parts`, and the `dead_letters`, beside what the driver knows."""
    ordered = sorted(units, key=lambda unit: unit.name)
    dead = [asdict(dead_letter) for unit in ordered for dead_letter in unit.dead]
    content = {**facts, "parts": [unit.name for unit in ordered if unit.clips], "dead_letters": dead}
    files.write_json(files.join(output, COMMITTED), content)
    return content


class MeasureClips(beam.PTransform[PCollection[tuple[LabelledClip, ...]], PCollection[dict[str, Any]]]):
    """Units of clips -> parts on disk, and one commit, see :func:`measure_unit` and :func:`commit_clips`."""

    def __init__(
        self, output: str, mel: MelSettings, settings: PairSettings, facts: dict[str, Any], progress: str | None
    ) -> None:
        super().__init__()
        self._measure = beam.Map(measure_unit, output=output, mel=mel, settings=settings, progress=progress)
        self._commit = Gather(commit_clips, output=output, facts=facts)

    def expand(self, pcoll: PCollection[tuple[LabelledClip, ...]]) -> PCollection[dict[str, Any]]:
        return pcoll | "Measure" >> self._measure | "Commit" >> self._commit
