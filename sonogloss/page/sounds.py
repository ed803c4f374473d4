"""What a page plays and draws of a clip: its sound as Opus in Ogg, and its loudest samples."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import soundfile

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.errors import ClipError
from sonogloss.records import FloatArray
from sonogloss.sources import Opened, Source, open_members, unprinted

RATE = 24_000  # Hz: one of the five that Opus has
PEAKS = 96
_COMPRESSION = 0.85  # of 0 to 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipSound:
    """The sound of one clip.

    Attributes:
        clip_id: which one.
        samples: mono at :data:`RATE`, float32 in [-1, 1].
    """

    clip_id: str
    samples: FloatArray

    @property
    def peaks(self) -> str:
        """The largest magnitude in each of 96 equally long pieces, a byte each, in base64."""
        pieces = np.array_split(np.abs(self.samples), min(PEAKS, len(self.samples)))
        loudest = np.array([piece.max() for piece in pieces])
        return base64.b64encode(np.rint(loudest * 255).astype(np.uint8).tobytes()).decode()

    def opus(self) -> str:
        """An Ogg file of about 3 kB a second, in base64."""
        target = io.BytesIO()
        soundfile.write(target, self.samples, RATE, format="OGG", subtype="OPUS", compression_level=_COMPRESSION)
        return base64.b64encode(target.getvalue()).decode()


def clip_sounds(rows: Iterable[Mapping[str, Any]]) -> Iterator[ClipSound]:
    """Read the clips of rows again. What is gone, or cannot be read any more, is left out.

    Args:
        rows: with `clip_id`, `uri`, `member`, `start_s` and `end_s`; those of one recording next to each other.
    """
    for (uri, member), some in groupby(rows, key=lambda row: (row["uri"], row["member"])):
        name, _, channel = (member or "").partition("#channel=")
        source = Source(uri=unprinted(uri), member=unprinted(name) if name else None)
        for _, opened in open_members([source]):
            if isinstance(opened, ClipError):
                continue
            for row in some:
                sound = _read(opened, row, int(channel) - 1 if channel else None)
                if sound is not None:
                    yield sound


def _read(opened: Opened, row: Mapping[str, Any], channel: int | None) -> ClipSound | None:
    seconds = row["end_s"] - row["start_s"]
    policy = WindowPolicy(
        window_s=max(0.01, seconds),
        hop_s=max(0.01, seconds),
        max_windows=1,
        channels="mean" if channel is None else "split",
    )
    try:
        opened.seek(0)
        clips = cut_clips(
            opened,
            Cutting(uri="", policy=policy, sample_rate=RATE, start_s=row["start_s"], end_s=row["end_s"]),
        )
        for number, clip in enumerate(clips):
            if number == (channel or 0):
                return ClipSound(clip_id=row["clip_id"], samples=clip.samples)
    except (ClipError, OSError):
        pass
    return None
