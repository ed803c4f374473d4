"""Long recordings as several units of work: parts of some windows each.

Only formats in which a decoder finds any sample exactly are split: PCM in WAV and its kin, and FLAC. How many parts
there are depends on the file's size and on what its header says, which need not be true: the last part is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sonogloss.audio import WindowPolicy, expected_windows
from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.sndfile import open_sndfile
from sonogloss.errors import ClipError
from sonogloss.sources import Source, SourceTable, open_source

PART_BYTES = 64 << 20
FEWEST_WINDOWS = 32  # a batch


def split_long(sources: Iterable[Source], policy: WindowPolicy) -> SourceTable:
    """The sources, with parts in place of long ones whose every window is wanted.

    Args:
        sources: as they were listed. Of one that may be long the header is read.
        policy: how windows are cut.
    """
    table = SourceTable.of(sources)
    if policy.max_windows is not None or not any(np.any(some >= 2 * PART_BYTES) for some in table.sizes()):
        return table
    return SourceTable.of(part for source in table for part in _parts(source, policy))


def _parts(source: Source, policy: WindowPolicy) -> Iterator[Source]:
    whole = (source.member, source.start_s, source.end_s, source.refused) == (None, None, None, None)
    count = (source.bytes or 0) // PART_BYTES
    if not whole or count < 2 or source.version is None or source.container not in (None, "file"):
        yield source
        return
    windows = len(expected_windows(_announced_seconds(source), policy))
    size = max(FEWEST_WINDOWS, -(-windows // count))
    starts = range(0, windows, size)
    if len(starts) < 2:
        yield source
        return
    share = (source.bytes or 0) // len(starts)
    for start in starts:
        stop = start + size if start + size < windows else None
        yield replace(source, part=(start, stop), bytes=share)


def _announced_seconds(source: Source) -> float:
    """What the header says; 0 where it says nothing, or where a part could not be found without what is before it."""
    try:
        with open_source(source) as opened:
            file = open_sndfile(ByteSource(opened).open())
            if file is None:
                return 0.0
            with closing(file):
                return file.frames / file.sample_rate if file.seeks_exactly else 0.0
    except ClipError:  # the worker that reads it will say so
        return 0.0


def count_recordings(sources: Sequence[Source], done: npt.NDArray[np.bool_] | None = None) -> int:
    """How many recordings these sources are, or those of them that are marked; the parts of one count once."""
    count = start = 0
    for parts in SourceTable.of(sources).parts():
        stop = start + len(parts)
        count += int(np.sum((parts <= 0) if done is None else (parts <= 0) & done[start:stop]))
        start = stop
    return count
