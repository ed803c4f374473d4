"""Results beside their references: one pass over the rows, which writes parts that can be scored by themselves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonogloss import files
from sonogloss.errors import FormatError, OptionError, StoreFormatError
from sonogloss.metrics.ngrams import Integers
from sonogloss.metrics.tokenize import holds_words_without_blanks
from sonogloss.pipelines.running.references import KEYS, NameCheck, References, read_references
from sonogloss.tables import Table, open_table
from sonogloss.transforms.commit_run import RUN_FILE, read_parts, read_run
from sonogloss.transforms.score_captions import PART_SCHEMA, ROWS_A_PART

NAMED = 1000  # names of each kind that a report lists
_LOOKED_AT = 20_000  # rows that say which column is the key
_COLUMNS = ("clip_id", "uri", "caption", "clap_score")

Row = Mapping[str, Any]


@dataclass
class Names:
    """How many, and the first of their names."""

    count: int = 0
    names: set[str] = field(default_factory=set)

    def add(self, name: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.names) < NAMED:
            self.names.add(name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Rows beside their references, in parts.

    Attributes:
        key: the column of the references that they go by.
        sizes: rows of each part; only rows with references are in one.
        rows: of the results, with and without references.
        without_references: keys of rows without references.
        without_caption: keys of references without a row.
        several_captions: keys of several rows, each of which is scored against all references of its key.
        empty_captions: keys of rows with references, but without a caption; they score 0.
        clap_scores: is there a row with one?
        unsplit: a text in a script that puts no blanks between words, if there is one.
    """

    key: str
    sizes: tuple[int, ...]
    rows: int
    without_references: Names
    without_caption: Names
    several_captions: Names
    empty_captions: Names
    clap_scores: bool
    unsplit: str | None


def join_references(
    read: Callable[[], Iterator[Row]],
    path_of: Callable[[int], str],
    *,
    results: str,
    references: str,
    key: str | None = None,
    columns: Iterable[str] = (),
    best: bool = False,
) -> Joined:
    """Find the references of every row, and write the parts.

    Args:
        read: reads the rows, with `caption` and a key; at least one.
        path_of: where a part goes, by its number.
        results: where the rows come from, for messages.
        references: the table of references.
        key: the key column of the references, where its name does not say so.
        columns: the text columns of the references, likewise.
        best: of several captions of a key, only the one with the highest `clap_score` counts, the first of equal ones.

    Raises:
        InputError: the references cannot be used, or share no key with the rows.
    """
    rows = read()
    first = list(itertools.islice(rows, _LOOKED_AT))
    found = read_references(references, first, key=key, columns=list(columns))
    chosen = _choose_best(found, read(), results) if best else None
    names = NameCheck("--results", results, lambda: (str(row.get("uri")) for row in read()))
    join = _Join(found, path_of, names, chosen)
    for row in itertools.chain(first, rows):
        join.add(row)
    if not join.sizes and not join.pending:
        raise FormatError(
            f"--references {references!r} and --results {results!r} have no {found.key} in common "
            f"({next(iter(found.places), 'nothing')!r} against {found.key_of(first[0])!r}).",
            "Check that both name the same clips, or name the key column of the references with --key.",
        )
    return join.finish()


def _choose_best(references: References, rows: Iterable[Row], results: str) -> Integers:
    """The number of the row that counts, by the place of the references; -1 where there is none."""
    if references.key == "clip_id":
        raise OptionError(
            "--per recording needs references of recordings, and these go by clip_id.",
            "Give references by file_name or uri, or leave it out.",
        )
    chosen, scores = np.full(len(references.places), -1), np.full(len(references.places), np.nan)
    for number, row in enumerate(rows):
        if (place := references.places.get(key := references.key_of(row))) is not None:
            score = math.nan if row.get("clap_score") is None else float(row["clap_score"])
            if chosen[place] >= 0 and math.isnan(score + scores[place]):
                raise FormatError(
                    f"--results {results!r} has several captions of {key!r}, and not all of them have a clap_score.",
                    "Leave --per recording out.",
                )
            if chosen[place] < 0 or score > scores[place]:
                chosen[place], scores[place] = number, score
    return chosen


class _Join:
    def __init__(
        self,
        references: References,
        path_of: Callable[[int], str],
        names: NameCheck,
        chosen: Integers | None,
    ) -> None:
        self._references, self._path_of, self._names, self._chosen = references, path_of, names, chosen
        self._captions = np.zeros(len(references.places), np.int64)  # by place
        self._rows = 0
        self._without, self._empty = Names(), Names()
        self._clap_scores = False
        self._unsplit: str | None = None
        self.sizes: list[int] = []
        self.pending: list[tuple[int, str, str | None, str, int, float | None]] = []

    def add(self, row: Row) -> None:
        """Put a row where its references are."""
        number, key = self._rows, self._references.key_of(row)
        self._rows += 1
        place = self._references.places.get(key)
        if place is None:
            self._without.add(key)
            return
        if self._references.key == "file_name":
            self._names.add(place, str(row.get("uri", key)))
        if self._chosen is not None and self._chosen[place] != number:
            return
        self._captions[place] += 1
        caption = row["caption"] or ""  # nothing where a tool wrote null
        if not caption.strip():
            self._empty.add(key)
        score = row.get("clap_score")
        self._clap_scores = self._clap_scores or score is not None
        self.pending.append((number, key, row.get("clip_id"), caption, place, None if score is None else float(score)))
        if len(self.pending) == ROWS_A_PART:
            self._write()

    def finish(self) -> Joined:
        """Write the rest."""
        if self.pending:
            self._write()
        without_caption, several = Names(), Names()
        for key, captions in zip(self._references.places, self._captions.tolist(), strict=True):
            if captions != 1:
                (several if captions else without_caption).add(key)
        return Joined(
            key=self._references.key,
            sizes=tuple(self.sizes),
            rows=self._rows,
            without_references=self._without,
            without_caption=without_caption,
            several_captions=several,
            empty_captions=self._empty,
            clap_scores=self._clap_scores,
            unsplit=self._unsplit,
        )

    def _write(self) -> None:
        columns = [pa.array(column) for column in zip(*self.pending, strict=True)]
        columns[4] = self._references.texts["references"].take(columns[4]).combine_chunks()
        table = pa.table(columns, names=PART_SCHEMA.names).cast(PART_SCHEMA)
        if self._unsplit is None:
            written = itertools.chain(_beyond_ascii(columns[3]), _beyond_ascii(columns[4].flatten()))
            self._unsplit = next(filter(holds_words_without_blanks, written), None)
        files.write_table(self._path_of(len(self.sizes)), table)
        self.sizes.append(len(self.pending))
        self.pending = []


def _beyond_ascii(texts: pa.Array) -> list[str]:
    return list(texts.filter(pc.invert(pc.string_is_ascii(texts))).to_pylist())


def read_results(path: str) -> Callable[[], Iterator[Row]]:
    """Rows with captions and their keys, from a results directory or any table with `caption`, read each time anew.

    Raises:
        InputError: it is neither.
    """
    if not files.is_dir(path):
        predictions = open_table(path, option="--results")
        predictions.require("caption")
        keys = [key for key in KEYS if key in predictions.columns]
        return lambda: (_checked(predictions, keys, place, row) for place, row in predictions.rows)
    run = read_run(path)
    if run is None:
        raise StoreFormatError(
            f"--results {path!r} has no {RUN_FILE}.", "Let `sonogloss caption` finish, or name a results directory."
        )
    parts = [files.join(path, part["path"]) for part in read_parts(path, run, "captions") if part["rows"]]
    if not parts:
        raise StoreFormatError(f"--results {path!r} holds no captions.", "Look into its dead_letters.")
    return lambda: (row for part in parts for row in files.read_table(part, list(_COLUMNS)).to_pylist())


def _checked(predictions: Table, keys: Sequence[str], place: str, row: Row) -> Row:
    """A row with a caption, or with null where a tool wrote none, and with a key where others have one."""
    if not isinstance(row.get("caption"), str | None):
        raise predictions.wrong(place, "the caption is not text")
    if keys and all(row.get(key) in (None, "") for key in keys):
        raise predictions.wrong(place, f"it has no {' or '.join(keys)}")
    return {"caption": None, **row}
