"""Material of the temporal benchmarks: synthetic clips that training and testing do not share, and real ones.

Synthetic clips are rendered once and kept as mel power (to learn from) or as sound (to judge by). Real ones are those
classes of ESC-50 that the pocket pair can know, by its own names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recipes.pocket.recipe import REAL_CLASSES, feature_extractor
from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.soundscapes import CLASSES
from sonogloss.temporal.clips import LabelledClip, read_collection, select_folds
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.features import MeasuredClips, measure_clips, read_part, write_part

PARTS = 10


def measured(directory: Path, name: str, clips: Sequence[LabelledClip], settings: PairSettings) -> list[MeasuredClips]:
    """Mel powers of clips, kept under `directory/name`; an interrupted run goes on part by part."""
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    mel = LogMel(MelSettings.from_preprocessor(feature_extractor().to_dict()))
    parts = []
    for number in range(PARTS):
        unit, some = f"part-{number}", clips[number::PARTS]
        if not (folder / f"{unit}.npy").exists():
            write_part(str(folder), unit, measure_clips(some, mel, settings))
        part = read_part(str(folder), unit)
        if [clip.id for clip in part.clips] != [clip.id for clip in some]:
            raise SystemExit(f"{folder} holds other clips: remove it")
        parts.append(part)
    return parts


def real_clips(folder: Path, folds: Sequence[str]) -> list[LabelledClip]:
    """ESC-10's clips of some folds, called as the pocket pair calls them; none where the folder is not there."""
    if not (folder / "metadata.csv").exists():
        return []
    names = {esc.replace("_", " "): CLASSES[ours].label for esc, ours in REAL_CLASSES.items()}
    clips = select_folds(read_collection(str(folder), split="test"), set(folds))
    return [replace(clip, label=names[clip.label]) for clip in clips if clip.label in names]
