"""write_rows: rows -> self-describing part files (see part_files), whole or not at all; only their names go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from sonogloss import files
from sonogloss.records import (
    CaptionRow,
    DeadLetter,
    LabelRow,
    caption_row_schema,
    label_row_schema,
    table,
)
from sonogloss.transforms.models import devices_used
from sonogloss.transforms.part_files import ROWS_A_PART, Footer, write_dead_letters, write_rows_part
from sonogloss.transforms.progress_file import audio_seconds, failure_noted, note, note_example, share_ahead
from sonogloss.transforms.work import Batch, DoneSource, Part, UnitResult, sum_counts

EXAMPLES = 3  # captions that each worker says


class RowKind(Protocol):
    """A kind of row: the folder it goes to, its columns, and how a finished batch becomes rows of it."""

    folder: ClassVar[str]

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        ...

    def of(self, batch: Batch) -> Sequence[CaptionRow | LabelRow]:
        """The finished rows of a batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class CaptionRows:
    """Rows of captions: the captioner's method is a column, and so are the labels that its prompts name, if any.

    The embedding is one when its width is given.
    """

    folder: ClassVar[str] = "captions"
    method: str
    keywords: bool = False
    embedding_dim: int | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return caption_row_schema(self.embedding_dim, keywords=self.keywords)

    def of(self, batch: Batch) -> list[CaptionRow]:
        """The finished rows of a batch."""
        return [
            CaptionRow(
                clip=clip,
                caption=batch.captions[row],
                clap_score=batch.scores[row],
                contexts=batch.contexts[row],
                method=self.method,
                keywords=batch.labels[row] if self.keywords else None,
                embedding=None if self.embedding_dim is None else batch.embeddings[row],
            )
            for row, clip in enumerate(batch.clips)
        ]


@dataclass(frozen=True, kw_only=True)
class LabelRows:
    """Rows of tags; the scores of all labels are a column when the number of labels is given."""

    folder: ClassVar[str] = "labels"
    all_scores: int | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return label_row_schema(self.all_scores)

    def of(self, batch: Batch) -> list[LabelRow]:
        """The finished rows of a batch."""
        return [
            LabelRow(
                clip=clip,
                labels=batch.labels[row],
                scores=None if self.all_scores is None else batch.label_scores[row],
            )
            for row, clip in enumerate(batch.clips)
        ]


class UnitWriter:
    """Gathers the rows of one unit after another and writes its files.

    Args:
        output: the results directory.
        configuration: digest of the options that shape a row; it is noted in every file.
        kind: what rows these are.
        rows_a_part: rows after which a file is closed and the next begun.
    """

    def __init__(self, output: str, *, configuration: str, kind: RowKind, rows_a_part: int = ROWS_A_PART) -> None:
        self._output = output
        self._configuration = configuration
        self._kind = kind
        self._rows_a_part = rows_a_part
        self._begin()

    def _begin(self) -> None:
        self._number = 0
        self._rows: list[CaptionRow | LabelRow] = []
        self._dead: list[DeadLetter] = []
        self._parts: list[Part] = []
        self._sources: list[DoneSource] = []
        self._inputs = 0
        self._seconds: dict[str, float] = {}

    def add(self, batch: Batch) -> UnitResult | None:
        """Take a batch; at the end of a unit write its files and say what they are.

        Raises:
            RuntimeError: the batches of a unit did not arrive in order, because something shuffled them on their way.
        """
        if batch.number == 0:
            self._begin()  # what an earlier, failed attempt left here is not ours
        if batch.number != self._number:
            raise RuntimeError(
                f"Batch {batch.number} of unit {batch.unit} arrived where batch {self._number} was due: the steps from "
                "read_audio to write_rows must stay fused."
            )
        self._number += 1
        self._inputs += batch.inputs
        self._sources += batch.sources
        self._seconds = sum_counts([self._seconds, batch.seconds])
        self._dead += batch.dead
        self._rows += self._kind.of(batch)
        # Never the last row: a unit's last file, which says that it is the last, is written when the unit ends.
        while len(self._rows) > self._rows_a_part:
            self._write_rows(batch.unit, self._rows[: self._rows_a_part], last=False)
            self._rows = self._rows[self._rows_a_part :]
        return self._finish(batch.unit) if batch.last else None

    def _finish(self, unit: str) -> UnitResult:
        rows = sum(part.rows for part in self._parts) + len(self._rows)
        dead_letters = write_dead_letters(self._output, self._footer(unit), self._dead, self._sources)
        self._write_rows(unit, self._rows, last=True)
        result = UnitResult(
            unit=unit,
            parts=(*self._parts, dead_letters),
            sources=len(self._sources),
            inputs=self._inputs,
            rows=rows,
            dead_letters=len(self._dead),
            silent=sum(source.silent for source in self._sources),
            codes=dict(Counter(dead_letter.code for dead_letter in self._dead)),
            seconds=self._seconds,
            device=devices_used(),
        )
        self._begin()
        return result

    def _footer(self, unit: str) -> Footer:
        return Footer(configuration=self._configuration, unit=unit, kind=self._kind.folder)

    def _write_rows(self, unit: str, rows: list[CaptionRow | LabelRow], *, last: bool) -> None:
        content = table(rows, self._kind.schema)
        self._parts.append(
            write_rows_part(self._output, self._footer(unit), content, number=len(self._parts), last=last)
        )


class _WriteRowsFn(beam.DoFn):
    def __init__(self, output: str, configuration: str, kind: RowKind, progress: str | None) -> None:
        self._output = output
        self._configuration = configuration
        self._kind = kind
        self._progress = progress
        self._examples = EXAMPLES

    def start_bundle(self) -> None:
        self._writer = UnitWriter(self._output, configuration=self._configuration, kind=self._kind)
        self._ahead = 0.0

    def process(self, batch: Batch) -> Iterator[UnitResult]:
        with failure_noted(self._progress):
            result = self._writer.add(batch)
        ahead = share_ahead(batch)
        note(
            self._progress,
            done=len(batch.clips),
            failed=len(batch.dead),
            units=len(batch.sources),
            size=batch.bytes,
            ahead=ahead - self._ahead,
            audio_s=audio_seconds(batch.clips),
        )
        self._ahead = ahead
        for clip, caption in zip(batch.clips[: self._examples], batch.captions, strict=False):  # tags have none
            where = files.base_name(clip.member or clip.uri)
            note_example(self._progress, f"{where} {clip.start_s:g}-{clip.end_s:g} s: {caption}")
            self._examples -= 1
        if result is not None:
            yield result


class WriteRows(beam.PTransform[PCollection[Batch], PCollection[UnitResult]]):
    """Finished batches -> part files on disk; emits what was written, see :class:`UnitWriter`.

    Args:
        output: the results directory.
        configuration: digest of the options that shape a row.
        kind: what rows these are.
        progress: a local file to note progress in, None for none.
    """

    def __init__(self, output: str, *, configuration: str, kind: RowKind, progress: str | None) -> None:
        super().__init__()
        self._fn = _WriteRowsFn(output, configuration, kind, progress)

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[UnitResult]:
        return pcoll | beam.ParDo(self._fn)
