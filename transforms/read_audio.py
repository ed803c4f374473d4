"""read_audio: units of sources -> batches of decoded clips; one bad file costs one dead letter.

Files are decoded in processes of their own (:mod:`sonogloss.audio.decoder_pool`), which can be killed. In a job a
thread reads one batch ahead, across units, while the models work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import IO, Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from sonogloss.audio import AudioLimits, Cutting, WindowPolicy
from sonogloss.audio.clip_decoder import clip_decoders
from sonogloss.audio.decoder_pool import DecodeRequest
from sonogloss.audio.decoding_journal import DecodingJournal
from sonogloss.errors import ClipError, Code, TransientError
from sonogloss.records import Clip, DeadLetter
from sonogloss.sources import Opened, Source, open_members, open_source, source_key
from sonogloss.sources.names import printable_name
from sonogloss.transforms.carry_along import carry_along
from sonogloss.transforms.isolate import dead_letter
from sonogloss.transforms.read_ahead import UnitsAhead
from sonogloss.transforms.work import Batch, DoneSource, Unit, Window, without_samples

STAGE = "read_audio"
Opener = Callable[[], AbstractContextManager[IO[bytes]]]


def read_unit(
    unit: Unit, *, policy: WindowPolicy, sample_rate: int, batch_size: int = 32, limits: AudioLimits | None = None
) -> Generator[Batch, None, None]:
    """Decode the sources of one unit, see :func:`read_units`."""
    return read_units([unit], policy=policy, sample_rate=sample_rate, batch_size=batch_size, limits=limits)


def read_units(
    units: Iterable[Unit],
    *,
    policy: WindowPolicy,
    sample_rate: int,
    batch_size: int = 32,
    limits: AudioLimits | None = None,
    journal: DecodingJournal | None = None,
) -> Generator[Batch, None, None]:
    """Decode the sources of units, in order, into batches of at most `batch_size` clips.

    One batch is in memory at a time, however long the recordings are. A batch is full, or the last one of its unit;
    each unit has a last one, even if it is empty. Where the policy leaves silent windows out, they are counted.

    Args:
        units: each with at least one source.
        policy: how windows are cut.
        sample_rate: the CLAP's own rate, in Hz.
        batch_size: clips a batch, at most.
        limits: what a source may cost; those of sonogloss.audio when left out.
        journal: notes what is being decoded.
    """
    cutting = partial(_cutting, policy=policy, sample_rate=sample_rate, limits=limits or AudioLimits())
    batch = _BatchInProgress()
    ahead: deque[_Opening] = deque()

    def requests() -> Iterator[DecodeRequest]:
        for opening in _openings(units, batch):
            ahead.append(opening)
            yield DecodeRequest(source=opening.opened, options=cutting(opening.source), key=source_key(opening.source))

    with closing(clip_decoders().decode_each(requests(), journal)) as decoded:
        for items in decoded:
            opening = ahead.popleft()
            for item in carry_along(opening.source, _clips(opening, items)):
                if isinstance(item, DeadLetter):
                    batch.add_dead(opening.source, item)
                elif policy.skip_silent and "SILENT" in item.flags:
                    batch.leave_out()
                else:
                    if len(batch.clips) == batch_size:
                        yield batch.take(opening.unit)
                        batch.begin()
                    batch.add(opening.source, item)
            batch.done(opening.source)
            if opening.last:
                yield batch.take(opening.unit, last=True)
                batch.begin()


class ReadAudio(beam.PTransform[PCollection[Unit], PCollection[Batch]]):
    """Units -> batches of decoded clips, see :func:`read_units`; the next batch is read while one is used.

    Args:
        policy: how windows are cut.
        sample_rate: the CLAP's own rate, in Hz.
        batch_size: clips a batch, at most.
        journal: a local folder where workers note what they are decoding, None for none.
    """

    def __init__(self, *, policy: WindowPolicy, sample_rate: int, batch_size: int, journal: str | None = None) -> None:
        super().__init__()
        self._fn = _ReadFn(journal, {"policy": policy, "sample_rate": sample_rate, "batch_size": batch_size})

    def expand(self, pcoll: PCollection[Unit]) -> PCollection[Batch]:
        return pcoll | "read_units" >> beam.ParDo(self._fn)


class _ReadFn(beam.DoFn):
    """Gives the batches of a unit when the next one comes, or the bundle ends."""

    def __init__(self, folder: str | None, options: dict[str, Any]) -> None:
        self._folder = folder
        self._options = options

    def setup(self) -> None:
        self._reading: UnitsAhead | None = None
        self._journal: DecodingJournal | None = None
        if self._folder is not None:
            with suppress(OSError):  # notes are a help; a disk that is full is for the writer of rows to tell
                self._journal = DecodingJournal(self._folder)

    def start_bundle(self) -> None:
        self._leave()  # what an earlier, failed attempt left
        self._reading = UnitsAhead(partial(read_units, journal=self._journal, **self._options))

    def process(self, unit: Unit) -> Iterator[Batch]:
        assert self._reading is not None
        yield from self._reading.add(unit)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        assert self._reading is not None
        for batch in self._reading.finish():
            yield GlobalWindows.windowed_value(batch)
        self._leave()

    def teardown(self) -> None:
        self._leave()
        clip_decoders().close()
        if self._journal is not None:
            self._journal.close()

    def _leave(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


class _BatchInProgress:
    """Fills with the clips of one unit and begins anew when a batch is taken. Its clock stops while it has to wait."""

    def __init__(self) -> None:
        self._number = 0
        self._left_out = 0  # silent windows of the present source
        self.begin()

    def begin(self) -> None:
        """Start the clock for the next batch."""
        self.clips: list[Clip] = []
        self._dead: list[DeadLetter] = []
        self._windows: list[Window] = []
        self._done: list[DoneSource] = []
        self._silent = self._bytes = 0
        self._start = time.perf_counter()

    def add(self, source: Source, clip: Clip) -> None:
        """Take a clip."""
        self.clips.append(clip)
        self._windows.append(Window(source=source, clip=without_samples(clip)))

    def add_dead(self, source: Source, letter: DeadLetter) -> None:
        """Note that a source gives no more clips."""
        self._dead.append(letter)
        self._windows.append(Window(source=source, clip=None))

    def leave_out(self) -> None:
        """Count a silent window."""
        self._silent += 1
        self._left_out += 1

    def done(self, source: Source) -> None:
        """Note that a source was read to its end."""
        key = source_key(source)
        self._done.append(DoneSource(key=key, uri=source.uri, member=source.member, silent=self._left_out))
        self._left_out = 0
        self._bytes += source.bytes or 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Stop the clock."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start

    def take(self, unit: Unit, *, last: bool = False) -> Batch:
        """The batch."""
        batch = Batch(
            unit=unit.id,
            number=self._number,
            last=last,
            inputs=len(self.clips) + len(self._dead) + self._silent,
            sources=tuple(self._done),
            bytes=self._bytes,
            silent=self._silent,
            windows=tuple(self._windows),
            clips=tuple(self.clips),
            dead=tuple(self._dead),
            seconds={STAGE: time.perf_counter() - self._start},
        )
        self._number = 0 if last else self._number + 1
        return batch


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """A source, what opens it or is open, and whether it is the last of its unit."""

    unit: Unit
    source: Source
    opened: Opened | Opener
    last: bool


def _openings(units: Iterable[Unit], batch: _BatchInProgress) -> Iterator[_Opening]:
    """Every source of every unit. A handle that is open lives until the next one is asked for."""
    coming = iter(units)
    while True:
        with batch.waiting():
            unit = next(coming, None)
        if unit is None:
            return
        for number, (source, opened) in enumerate(_opened(unit), 1):
            yield _Opening(unit=unit, source=source, opened=opened, last=number == len(unit.sources))


def _opened(unit: Unit) -> Iterator[tuple[Source, Opened | Opener]]:
    for source in unit.sources:
        if (skipped := source.refused) is not None:
            yield source, partial(_refuse, ClipError(Code(skipped.code), skipped.reason, skipped.byte_offset))
    openable = [source for source in unit.sources if source.refused is None]
    for is_file, sources in groupby(openable, key=_is_file):
        if is_file:
            yield from ((source, partial(open_source, source)) for source in sources)
            continue
        for source, opened in open_members(sources):
            yield source, partial(_refuse, opened) if isinstance(opened, ClipError) else opened


def _is_file(source: Source) -> bool:
    """Is this a file of its own, which is opened when its turn comes? Members are opened in one pass."""
    return source.member is None and source.container in (None, "file")


def _refuse(error: ClipError) -> AbstractContextManager[IO[bytes]]:
    raise error


def _cutting(source: Source, *, policy: WindowPolicy, sample_rate: int, limits: AudioLimits) -> Cutting:
    uri, member = printable_name(source.uri, source.member)
    return Cutting(
        uri=uri,
        member=member,
        policy=policy,
        sample_rate=sample_rate,
        limits=limits,
        start_s=source.start_s,
        end_s=source.end_s,
        part=source.part,
        version=source.version,
    )


def _clips(opening: _Opening, items: Iterator[Clip]) -> Iterator[Clip | DeadLetter]:
    """The clips of a source, then the reason why there are no more if it broke.

    A read that failed looks like the end of the bytes to a decoder; it is the reason then.

    Raises:
        TransientError: a read may succeed on another try, so the engine has to do the unit again.
    """
    opened = opening.opened if isinstance(opening.opened, Opened) else None
    try:
        yield from items
        if opened is not None:
            opened.check()
    except ClipError as error:
        cause = opened.problem if opened is not None else None
        if isinstance(cause, TransientError):
            raise cause from error
        source = opening.source
        uri, member = printable_name(source.uri, source.member)
        yield dead_letter(cause or error, stage=STAGE, uri=uri, member=member)
