"""Mel powers of single clips, computed once; post-training composes its batches from them.

A spectrum costs some milliseconds, a composition of two a tenth of one. Large collections are measured by a Beam job
into parts that training memory-maps.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from sonogloss import files
from sonogloss.audio.mel import LogMel
from sonogloss.errors import ClipError
from sonogloss.records import DeadLetter, FloatArray, schema_of
from sonogloss.temporal.clips import LabelledClip, dead_clip, read_samples
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sequences import levelled

STAGE = "measure_clips"
_SCHEMA = schema_of(LabelledClip).append(pa.field("frames", pa.int32(), nullable=False))
_SHORTEST = 1024  # samples; the reflected borders of a spectrum need more than half a frame


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredClips:
    """Clips and their concatenated mel powers, float32 [sum of frames, mels]; `dead` are clips that cannot be read."""

    clips: tuple[LabelledClip, ...]
    frames: tuple[int, ...]
    power: FloatArray
    dead: tuple[DeadLetter, ...] = ()


def measure_clips(clips: Iterable[LabelledClip], log_mel: LogMel, settings: PairSettings) -> MeasuredClips:
    """Read, level and measure the first half window of each clip. A clip that cannot be read is a dead letter."""
    mel = log_mel.settings
    good: list[LabelledClip] = []
    powers: list[FloatArray] = []
    dead: list[DeadLetter] = []
    for clip in clips:
        try:
            samples = levelled(read_samples(clip, mel.sample_rate, mel.window_s / 2), settings)
        except ClipError as error:
            dead.append(dead_clip(clip, STAGE, error))
            continue
        frames = -(-len(samples) // mel.hop_length)
        padded = np.pad(samples, (0, max(0, _SHORTEST - len(samples))))
        powers.append(log_mel.power(torch.from_numpy(padded)[None])[0, :frames].numpy())
        good.append(clip)
    none = np.zeros((0, mel.mel_bins), np.float32)
    return MeasuredClips(
        clips=tuple(good),
        frames=tuple(len(power) for power in powers),
        power=np.concatenate(powers) if powers else none,
        dead=tuple(dead),
    )


class ClipPowers(Mapping[str, FloatArray]):
    """Mel powers by clip id, and the clips in order of id."""

    def __init__(self, parts: Sequence[MeasuredClips]) -> None:
        self._at: dict[str, tuple[FloatArray, int, int]] = {}
        found: dict[str, LabelledClip] = {}
        for part in parts:
            ends = np.cumsum(part.frames)
            for clip, frames, end in zip(part.clips, part.frames, ends, strict=True):
                self._at[clip.id] = (part.power, int(end) - frames, int(end))
                found[clip.id] = clip
        self.clips = [found[key] for key in sorted(found)]

    def __getitem__(self, clip_id: str) -> FloatArray:
        power, start, end = self._at[clip_id]
        return np.asarray(power[start:end])

    def __iter__(self) -> Any:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)


def decibels(power: FloatArray, frames: int, padding: str, *, least: float = 1e-10) -> FloatArray:
    """Mel power [n, mels] to decibels [frames, mels], padded as by the CLAP's own front end.

    Args:
        power: of a clip at most a window long.
        frames: of a window; one more than its hops, because frames are centered.
        padding: `repeatpad` whole copies, then silence; `repeat` copies; `pad` silence.
        least: the power that silence is taken for.
    """
    copies = {"pad": 1, "repeatpad": (frames - 1) // len(power), "repeat": -(-frames // len(power))}
    rows = np.tile(power, (max(1, copies[padding]), 1))[:frames]
    whole = np.zeros((frames, power.shape[1]), np.float32)
    whole[: len(rows)] = rows
    if len(rows) == frames - 1:
        whole[-1] = rows[-1]
    return np.asarray(10 * np.log10(np.maximum(whole, least)), np.float32)


def write_part(directory: str, unit: str, measured: MeasuredClips) -> tuple[str, str]:
    """Write measured clips as two files: `UNIT.parquet` (clips, frames) and `UNIT.npy` (power). Returns their names."""
    names = f"{unit}.parquet", f"{unit}.npy"
    rows = [asdict(clip) | {"frames": frames} for clip, frames in zip(measured.clips, measured.frames, strict=True)]
    schema = schema_of(LabelledClip).append(pa.field("frames", pa.int32(), nullable=False))
    files.write_table(files.join(directory, names[0]), pa.Table.from_pylist(rows, schema=schema))
    content = io.BytesIO()
    np.save(content, measured.power, allow_pickle=False)
    files.write_bytes(files.join(directory, names[1]), content.getvalue())
    return names


def read_part(directory: str, unit: str) -> MeasuredClips:
    """Read a part; powers are memory-mapped from a local disk and loaded from anywhere else."""
    rows = files.read_table(files.join(directory, f"{unit}.parquet")).to_pylist()
    path = files.join(directory, f"{unit}.npy")
    local = files.local_path(path)
    if local is not None:
        power = np.load(Path(local), mmap_mode="r", allow_pickle=False)
    else:
        power = np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False)
    frames = tuple(int(row.pop("frames")) for row in rows)
    return MeasuredClips(clips=tuple(LabelledClip(**row) for row in rows), frames=frames, power=power)
