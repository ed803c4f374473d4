"""References as people have them: which column is the key, which ones hold the text, and which rows they belong to."""

from __future__ import annotations

import itertools
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from sonogloss import files
from sonogloss.errors import FormatError
from sonogloss.tables import Table, cell_values, open_table

KEYS = ("clip_id", "uri", "file_name", "filename", "fname")
_TEXTS = ("references", "captions", "reference", "caption", "text", "raw")
_NUMBERED = re.compile(r"(?:caption|reference)_?\d+")  # Clotho: caption_1 to caption_5
_FILE_NAMES = frozenset({"file_name", "filename", "fname"})
_IDS = ("youtube_id", "audiocap_id", "image_id", "audio_id", "id")  # AudioCaps, COCO, WavCaps
_AT_ONCE = 10_000  # rows

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """References by key, and how rows find theirs.

    Attributes:
        key: the column that they go by; `file_name` however it is spelled.
        key_of: what a row of the results is called.
        places: by key, the place of its texts; keys without texts are not here.
        texts: a column `references` of lists, one a key.
    """

    key: str
    key_of: Callable[[Row], str]
    places: Mapping[str, int]
    texts: pa.Table

    def of(self, row: Row) -> list[str]:
        """The references of a row; empty where it has none."""
        place = self.places.get(self.key_of(row))
        return [] if place is None else list(self.texts["references"][place].as_py())

    def matches(self, rows: Sequence[Row]) -> int:
        """How many of these rows have references."""
        return sum(self.key_of(row) in self.places for row in rows)


def read_references(
    path: str, rows: Sequence[Row], *, key: str | None = None, columns: Sequence[str] = ()
) -> References:
    """References out of a table, with the key that it shares with the rows.

    A key is `clip_id`, `uri` or a file name, which is compared without its folder. Any other column that is named as
    the key is compared with the column of that name in the rows, or else with file names, with and without their
    ending. AudioCaps' tables go by `youtube_id` and `start_time`, or by `audiocap_id`; COCO's by the file name of an
    image or by `image_id`, WavCaps' by `id`. Keys match under Unicode NFC.

    Texts are `references` or `captions` (a list), `caption_1`, `caption_2` ... (Clotho), `reference`, `caption`,
    `text` or `raw`. Several rows of one key add up.

    Args:
        path: csv, tsv, json, jsonl or Parquet.
        rows: the first ones of the results, which say what they are called by; at least one.
        key: the column to go by, where it is not found by its name.
        columns: the columns with texts, where they are not found by their names.

    Raises:
        FormatError: there is no such key, or there are no texts.
    """
    table = open_table(path, option="--references")
    texts = _text_columns(table, columns)
    best: References | None = None
    most = -1
    for name, of_reference in _keys_of_references(table, key):
        if not (of_rows := _keys_of_rows(name, rows)):
            continue
        places, content = _gather(path, table, name, of_reference, texts)
        for of_row in of_rows:
            found = References(key=name, key_of=of_row, places=places, texts=content)
            if (matches := found.matches(rows)) > most:
                best, most = found, matches
        if most == len(rows):
            break
    if best is None:
        raise FormatError(
            f"{table.name} (columns: {', '.join(table.columns)}) has no key column that the results have.",
            f"Give one of {', '.join(KEYS[:3])}, or name one with --key.",
        )
    return best


def _normal(name: object) -> str:
    """A key as it is compared: NFC, because macOS writes file names decomposed. Null is no word and matches nothing."""
    return "" if name is None else unicodedata.normalize("NFC", str(name))


def _text_columns(table: Table, named: Sequence[str]) -> list[str]:
    if named:
        for name in named:
            table.require(name)
        return list(named)
    numbered = [name for name in table.columns if _NUMBERED.fullmatch(name)]
    if numbered and table.find(("references", "captions")) is None:
        return numbered
    return [table.require(*_TEXTS)]


def _keys_of_references(table: Table, key: str | None) -> list[tuple[str, Callable[[Row], str | None]]]:
    """Each column that may be the key, best first, with what it says of a row."""

    def column(name: str) -> tuple[str, Callable[[Row], str | None]]:
        return (
            "file_name" if name in _FILE_NAMES else name,
            lambda row: None if row.get(name) is None else str(row[name]),
        )

    if key is not None:
        table.require(key)
        return [column(key)]
    found = [column(name) for name in KEYS if name in table.columns]
    if {"youtube_id", "start_time"} <= set(table.columns):
        found.append(("youtube_id", lambda row: f"{row.get('youtube_id')}_{row.get('start_time')}"))
    return found + [column(name) for name in _IDS if name in table.columns]


def _keys_of_rows(name: str, rows: Sequence[Row]) -> list[Callable[[Row], str]]:
    """What rows may be called by a key of this name."""
    if name in rows[0] and name != "file_name":
        return [lambda row: _normal(row.get(name))]
    if name in ("clip_id", "uri") or not {"uri", "file_name"} & rows[0].keys():
        return []

    def base(row: Row) -> str:
        return files.base_name(_normal(row.get("file_name", row.get("uri"))))

    def stem(row: Row) -> str:
        return PurePosixPath(base(row)).stem

    if name == "file_name":
        return [base]
    # AudioCaps' tools save a clip under its YouTube id, often with a Y in front, with or without its start.
    return [
        stem,
        base,
        lambda row: stem(row).removeprefix("Y"),
        lambda row: stem(row).removeprefix("Y").rpartition("_")[0],
    ]


def _gather(
    path: str, table: Table, key: str, of_reference: Callable[[Row], str | None], columns: Sequence[str]
) -> tuple[dict[str, int], pa.Table]:
    """The place of each key, and the texts in the order of their places."""
    places: dict[str, int] = {}
    names = NameCheck("--references", path, lambda: (str(of_reference(row)) for _, row in table.rows))
    owners = array("q")
    letters, ends = bytearray(), array("q", [0])  # of all texts, once: there may be gigabytes
    rows = _texts(table, key, of_reference, columns)
    while some := list(itertools.islice(rows, _AT_ONCE)):
        for name, own_texts in some:
            own = _normal(files.base_name(name) if key == "file_name" else name)
            place = places.setdefault(own, len(places))
            owners.extend([place] * len(own_texts))
            if key == "file_name":
                names.add(place, name)
        found = pa.array([text for _, own in some for text in own], pa.large_string())
        ends.frombytes((np.frombuffer(found.buffers()[1], np.int64)[1 : len(found) + 1] + len(letters)).tobytes())
        letters += memoryview(found.buffers()[2])[: ends[-1] - len(letters)]
    owner = np.frombuffer(owners, np.int64) if owners else np.empty(0, np.int64)
    texts = pa.LargeStringArray.from_buffers(len(owner), pa.py_buffer(ends), pa.py_buffer(letters))
    if (owner[1:] < owner[:-1]).any():
        texts = texts.take(pa.array(np.argsort(owner, kind="stable")))
    last = np.cumsum(np.bincount(owner, minlength=len(places)))
    lists = pa.LargeListArray.from_arrays(pa.array(np.concatenate([[0], last]), pa.int64()), texts)
    return places, pa.table({"references": lists})


def _texts(
    table: Table, key: str, of_reference: Callable[[Row], str | None], columns: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """What each row is called, and its texts that are not blank; rows without any are left out."""
    for place, row in table.rows:
        name = of_reference(row)
        cells = [text for column in columns for text in cell_values(row, column, column)]
        if name is None or not all(isinstance(text, str) for text in cells):
            raise table.wrong(place, f"no {key}, or references that are not text")
        if texts := [text for text in cells if text.strip()]:
            yield name, texts


class NameCheck:
    """File names are compared without their folders: two files of one name cannot be told apart.

    Args:
        option: the option that names them, for messages.
        path: its value.
        names: reads all of them again, for messages.
    """

    def __init__(self, option: str, path: str, names: Callable[[], Iterable[str]]) -> None:
        self._option, self._path, self._names = option, path, names
        self._seen = array("q")  # digests by place, for there may be millions; 0 where none was noted

    def add(self, place: int, name: str) -> None:
        """Note a file; equal base names have equal places, which are 0, 1, 2 and so on.

        Raises:
            FormatError: there is another one of its name.
        """
        self._seen.extend([0] * (place + 1 - len(self._seen)))
        digest = hash(name) or 1
        if self._seen[place] == 0:
            self._seen[place] = digest
        elif self._seen[place] != digest:
            base = files.base_name(name)
            first = next(other for other in self._names() if files.base_name(other) == base)
            raise FormatError(
                f"{self._option} {self._path!r} names two files {base!r}: {first!r} and {name!r}.",
                "Use the key uri or clip_id.",
            )
