"""write_rows: rows -> self-describing part files, whole or not at all; only their names go on.

A unit's files are `dead_letters/part-<unit>.parquet`, `captions/part-<unit>-<n>.parquet` and last the highest `n`,
whose footer says so. A killed job leaves whole units and beginnings of units, and the footers tell them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from sonogloss import files
from sonogloss.records import DEAD_LETTER_SCHEMA, CaptionRow, DeadLetter, caption_row_schema, table
from transforms.progress_file import note
from transforms.work import Batch, Part, UnitResult, add_up

ROWS_A_PART = 20_000

CONFIGURATION_KEY = b"sonogloss.configuration"
UNIT_KEY = b"sonogloss.unit"
PARTS_KEY = b"sonogloss.parts"  # in a unit's last captions file only: how many captions files the unit has


class UnitWriter:
    """Gathers the rows of one unit after another and writes its files.

    Args:
        output: the results directory.
        configuration: digest of the options that shape a row; it is noted in every file.
        method: the captioner's method, a column.
        embedding_dim: width of the `embedding` column, None for no such column.
        rows_a_part: rows after which a captions file is closed and the next begun.
    """

    def __init__(
        self,
        output: str,
        *,
        configuration: str,
        method: str,
        embedding_dim: int | None = None,
        rows_a_part: int = ROWS_A_PART,
    ) -> None:
        self._output = output
        self._configuration = configuration
        self._method = method
        self._schema = caption_row_schema(embedding_dim)
        self._with_embedding = embedding_dim is not None
        self._rows_a_part = rows_a_part
        self._begin()

    def _begin(self) -> None:
        self._number = 0
        self._rows: list[CaptionRow] = []
        self._dead: list[DeadLetter] = []
        self._parts: list[Part] = []
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
        self._seconds = add_up([self._seconds, batch.seconds])
        self._dead += batch.dead
        self._rows += caption_rows(batch, self._method, with_embedding=self._with_embedding)
        while (
            len(self._rows) > self._rows_a_part
        ):  # never the last row: the unit's last file must not be known too early
            self._write_captions(batch.unit, self._rows[: self._rows_a_part], last=False)
            self._rows = self._rows[self._rows_a_part :]
        return self._finish(batch.unit) if batch.last else None

    def _finish(self, unit: str) -> UnitResult:
        rows = sum(part.rows for part in self._parts) + len(self._rows)
        name = dead_letters_name(unit)
        letters = self._write(name, unit, table(self._dead, DEAD_LETTER_SCHEMA), {})
        self._write_captions(unit, self._rows, last=True)
        result = UnitResult(
            unit=unit,
            parts=(*self._parts, letters),
            inputs=self._inputs,
            captions=rows,
            dead_letters=len(self._dead),
            codes=dict(Counter(letter.code for letter in self._dead)),
            seconds=self._seconds,
        )
        self._begin()
        return result

    def _write_captions(self, unit: str, rows: list[CaptionRow], *, last: bool) -> None:
        number = len(self._parts)
        extra = {PARTS_KEY: str(number + 1).encode()} if last else {}
        self._parts.append(self._write(captions_name(unit, number), unit, table(rows, self._schema), extra))

    def _write(self, name: str, unit: str, content: pa.Table, extra: dict[bytes, bytes]) -> Part:
        metadata = {CONFIGURATION_KEY: self._configuration.encode(), UNIT_KEY: unit.encode(), **extra}
        files.write_table(files.join(self._output, name), content.replace_schema_metadata(metadata))
        return describe_part(self._output, name, content.num_rows)


def captions_name(unit: str, number: int) -> str:
    """Name of a unit's captions file below the results directory."""
    return f"captions/part-{unit}-{number:03d}.parquet"


def dead_letters_name(unit: str) -> str:
    """Name of a unit's dead letters file below the results directory."""
    return f"dead_letters/part-{unit}.parquet"


def describe_part(output: str, name: str, rows: int) -> Part:
    """A reference to a file that was written."""
    return Part(**files.file_entry(output, name), rows=rows)


def caption_rows(batch: Batch, method: str, *, with_embedding: bool) -> list[CaptionRow]:
    """The finished rows of a batch."""
    return [
        CaptionRow(
            clip_id=clip.clip_id,
            uri=clip.uri,
            member=clip.member,
            start_s=clip.start_s,
            end_s=clip.end_s,
            duration_s=clip.duration_s,
            sample_rate=clip.sample_rate,
            channels=clip.channels,
            caption=batch.captions[row],
            clap_score=batch.scores[row],
            contexts=batch.contexts[row],
            method=method,
            flags=clip.flags,
            audio_sha256=clip.audio_sha256,
            embedding=batch.embeddings[row] if with_embedding else None,
        )
        for row, clip in enumerate(batch.clips)
    ]


class _WriteRowsFn(beam.DoFn):
    def __init__(
        self, output: str, configuration: str, method: str, embedding_dim: int | None, progress: str | None
    ) -> None:
        self._output = output
        self._options = {"configuration": configuration, "method": method, "embedding_dim": embedding_dim}
        self._progress = progress

    def start_bundle(self) -> None:
        self._writer = UnitWriter(self._output, **self._options)  # type: ignore[arg-type]  # as in the constructor

    def process(self, batch: Batch) -> Iterator[UnitResult]:
        result = self._writer.add(batch)
        note(self._progress, done=len(batch.clips), failed=len(batch.dead), units=int(batch.last))
        if result is not None:
            yield result


class WriteRows(beam.PTransform[PCollection[Batch], PCollection[UnitResult]]):
    """Finished batches -> part files on disk; emits what was written, see :class:`UnitWriter`.

    Args:
        output: the results directory.
        configuration: digest of the options that shape a row.
        method: the captioner's method.
        embedding_dim: width of the `embedding` column, None for no such column.
        progress: a local file to note progress in, None for none.
    """

    def __init__(
        self, output: str, *, configuration: str, method: str, embedding_dim: int | None, progress: str | None
    ) -> None:
        super().__init__()
        self._fn = _WriteRowsFn(output, configuration, method, embedding_dim, progress)

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[UnitResult]:
        return pcoll | beam.ParDo(self._fn)
