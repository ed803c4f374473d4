"""How far a job is: short lines in a local file, for a driver on this machine, and Beam's counters for others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from apache_beam.metrics.metric import Metrics

from sonogloss.errors import InputError
from sonogloss.records import ClipInfo
from sonogloss.sources import printable
from sonogloss.transforms.work import Batch

_LONGEST = 300  # letters of an example
NAMESPACE = "sonogloss"
"""Of the counters."""


def note(
    path: str | None,
    *,
    done: int,
    failed: int = 0,
    units: int = 0,
    size: int = 0,
    ahead: float = 0.0,
    audio_s: float = 0.0,
) -> None:
    """Count what a batch achieved, and append it to a file, whole, for lines are short.

    Args:
        path: a local file; None for none.
        done: records that went through.
        failed: records that became dead letters.
        units: units of work that ended with this batch.
        size: bytes of these units.
        ahead: by how much the part grew that is done of the unit that goes on, as a share of it.
        audio_s: seconds of sound in what went through.
    """
    counts = {"done": done, "failed": failed, "units": units, "size": size, "audio_ms": round(1000 * audio_s)}
    for name, count in counts.items():
        Metrics.counter(NAMESPACE, name).inc(count)
    sound = f" {ahead:.6f} {audio_s:.3f}" if ahead or audio_s else ""
    _append(path, f"{done} {failed} {units} {size}{sound}\n")


def _append(path: str | None, line: str) -> None:
    if path is None:
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return  # the driver has gone; the work goes on without it
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def audio_seconds(clips: Sequence[ClipInfo]) -> float:
    """How much sound clips cover, in seconds; what overlapping windows of a recording share counts once."""
    total, before = 0.0, None
    for clip in clips:
        again = before is not None and (before.uri, before.member) == (clip.uri, clip.member)
        total += max(0.0, clip.end_s - (max(clip.start_s, before.end_s) if before and again else clip.start_s))
        before = clip
    return total


def share_ahead(batch: Batch) -> float:
    """Which share of the recording that goes on behind a batch is done with it, from 0 to 1; 0 where none goes on."""
    if batch.last or not batch.clips:
        return 0.0
    clip = batch.clips[-1]
    ended = batch.sources[-1] if batch.sources else None
    goes_on = ended is None or (printable(ended.uri), ended.member) != (clip.uri, clip.member)
    return clip.end_s / clip.duration_s if goes_on and clip.duration_s else 0.0


def note_total(path: str | None, captions: int) -> None:
    """Note how many records there are to do; further notes add to it, and what need not be done takes away.

    Args:
        path: a local file; None notes nothing.
        captions: records.
    """
    _append(path, f"of {captions}\n")


def note_example(path: str | None, text: str) -> None:
    """Note something that went through, in words, for whoever watches.

    Args:
        path: a local file; None notes nothing.
        text: of one line when printed; what makes it longer than a line that is appended whole is cut off.
    """
    _append(path, f"eg {json.dumps(text[:_LONGEST])}\n")


@contextmanager
def failure_noted(path: str | None) -> Iterator[None]:
    """Note what ends the job: a driver whose runner does not come back learns it here.

    Args:
        path: a local file, beside which it is noted; None notes nothing.
    """
    try:
        yield
    except InputError as error:
        if path is not None:
            with suppress(OSError), open(f"{path}.failed", "w", encoding="utf-8") as handle:
                json.dump([type(error).__name__, error.what, error.remedy], handle)
        raise


def read_failure(path: str) -> tuple[str, str, str] | None:
    """The class of the error that a worker has noted, what and remedy; None when nothing failed."""
    try:
        with open(f"{path}.failed", encoding="utf-8") as handle:
            kind, what, remedy = json.load(handle)
    except (OSError, ValueError):  # it is just being written
        return None
    return kind, what, remedy
