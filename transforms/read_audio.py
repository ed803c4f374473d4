"""read_audio: a unit of sources -> batches of decoded clips; one bad file costs one dead letter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from sonogloss.audio import AudioLimits, WindowPolicy, cut_clips
from sonogloss.errors import ClipError, Code
from sonogloss.records import Clip, DeadLetter
from sonogloss.sources import Opened, Source, open_members, printable, source_key
from sonogloss.transforms.carry_along import carry_along
from sonogloss.transforms.isolate import dead_letter
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

    for source, items in _read_sources(unit.sources, policy=policy, sample_rate=sample_rate, limits=limits):
        for item in carry_along(source, items):
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


def _read_sources(
    sources: Sequence[Source], *, policy: WindowPolicy, sample_rate: int, limits: AudioLimits | None
) -> Iterator[tuple[Source, Iterable[Clip | DeadLetter]]]:
    """Every source with its clips, which are to be taken before the next source is asked for."""
    for source in sources:
        if (skipped := source.refused) is not None:
            error = ClipError(Code(skipped.code), skipped.reason, skipped.byte_offset)
            yield source, [_dead(source, error)]
    openable = [source for source in sources if source.refused is None]
    for source, opened in open_members(openable):
        if isinstance(opened, ClipError):
            yield source, [_dead(source, opened)]
        else:
            yield source, read_source(source, opened, policy=policy, sample_rate=sample_rate, limits=limits)


def read_source(
    source: Source, opened: Opened, *, policy: WindowPolicy, sample_rate: int, limits: AudioLimits | None = None
) -> Iterator[Clip | DeadLetter]:
    """The clips of one recording, or the reason why there are none."""
    try:
        yield from cut_clips(
            opened,
            uri=printable(source.uri),
            member=None if source.member is None else printable(source.member),
            policy=policy,
            sample_rate=sample_rate,
            limits=limits or AudioLimits(),
            start_s=source.start_s,
            end_s=source.end_s,
        )
        opened.check()
    except ClipError as error:
        yield _dead(source, _cause(opened, error))
    except MemoryError:
        yield _dead(source, ClipError(Code.OUT_OF_MEMORY, "There is not enough memory to decode the file."))
    except Exception as error:  # noqa: BLE001  # a decoder that breaks in an unforeseen way costs one file, not the job
        corrupt = ClipError(Code.CORRUPT, f"Decoding failed ({type(error).__name__}: {error}).")
        yield _dead(source, _cause(opened, corrupt))


def _cause(opened: Opened, error: ClipError) -> ClipError:
    """A read that failed looks like the end of the bytes to a decoder; it is the reason then."""
    return opened.problem or error


def _dead(source: Source, error: ClipError) -> DeadLetter:
    member = None if source.member is None else printable(source.member)
    return dead_letter(error, stage=STAGE, uri=printable(source.uri), member=member)
