"""read_audio: a unit of sources -> batches of decoded clips; one bad file costs one dead letter."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sonogloss import files
from sonogloss.audio import AudioLimits, WindowPolicy, cut_clips
from sonogloss.errors import ClipError, Code
from sonogloss.records import Clip, DeadLetter
from sonogloss.transforms.isolate import dead_letter
from sonogloss.transforms.sources import source_key
from sonogloss.transforms.work import Batch, DoneSource, Unit

STAGE = "read_audio"


def read_unit(
    unit: Unit, *, policy: WindowPolicy, sample_rate: int, batch_size: int = 32, limits: AudioLimits | None = None
) -> Iterator[Batch]:
    """Decode the sources of a unit, in order, into batches of at most `batch_size` clips.

    One batch is in memory at a time, however long the recordings are. There is always a last batch, even an empty one.

    Args:
        unit: the sources.
        policy: how windows are cut.
        sample_rate: the CLAP's own rate, in Hz.
        batch_size: clips a batch, at most.
        limits: what a source may cost; the audio room's defaults when left out.
    """
    clips: list[Clip] = []
    dead: list[DeadLetter] = []
    done: list[DoneSource] = []
    number, size, start = 0, 0, time.perf_counter()

    def batch(last: bool) -> Batch:
        seconds = {STAGE: time.perf_counter() - start}
        return Batch(
            unit=unit.id,
            number=number,
            last=last,
            inputs=len(clips) + len(dead),
            sources=tuple(done),
            bytes=size,
            clips=tuple(clips),
            dead=tuple(dead),
            seconds=seconds,
        )

    for source in unit.sources:
        for item in read_source(source.uri, policy=policy, sample_rate=sample_rate, limits=limits or AudioLimits()):
            if isinstance(item, DeadLetter):
                dead.append(item)
                continue
            if len(clips) == batch_size:
                yield batch(last=False)
                clips, dead, done = [], [], []
                number, size, start = number + 1, 0, time.perf_counter()
            clips.append(item)
        done.append(DoneSource(key=source_key(source), uri=source.uri, member=source.member))
        size += source.bytes or 0
    yield batch(last=True)


def read_source(
    uri: str, *, policy: WindowPolicy, sample_rate: int, limits: AudioLimits
) -> Iterator[Clip | DeadLetter]:
    """The clips of one file, or the reason why there are none."""
    try:
        data = _fetch(uri, limits)
        yield from cut_clips(data, uri=uri, member=None, policy=policy, sample_rate=sample_rate, limits=limits)
    except ClipError as error:
        yield dead_letter(error, stage=STAGE, uri=uri)
    except MemoryError:
        memory = ClipError(Code.OUT_OF_MEMORY, "There is not enough memory to decode the file.")
        yield dead_letter(memory, stage=STAGE, uri=uri)
    except Exception as error:  # noqa: BLE001  # a decoder that breaks in an unforeseen way costs one file, not the job
        corrupt = ClipError(Code.CORRUPT, f"Decoding failed ({type(error).__name__}: {error}).")
        yield dead_letter(corrupt, stage=STAGE, uri=uri)


def _fetch(uri: str, limits: AudioLimits) -> bytes:
    try:
        size = files.size(uri)
        if size > limits.max_bytes:
            raise ClipError(Code.LIMIT, f"The file has {size:,} bytes; the limit is {limits.max_bytes:,}.")
        return files.read_bytes(uri)
    except ClipError:
        raise
    except Exception as error:  # every file system raises its own errors; each costs one file only
        raise ClipError(Code.UNREADABLE, f"The file cannot be read ({type(error).__name__}: {error}).") from error
