"""References as people have them: which column is the key, which ones hold the text, and which rows they belong to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from sonogloss import files
from sonogloss.errors import FormatError
from sonogloss.tables import Table, cell_values, open_table

KEYS = ("clip_id", "uri", "file_name", "filename", "fname")
_TEXTS = ("references", "captions", "reference", "caption", "text", "raw")
_NUMBERED = re.compile(r"(?:caption|reference)_?\d+")  # Clotho: caption_1 to caption_5
_FILE_NAMES = frozenset({"file_name", "filename", "fname"})
_IDS = ("youtube_id", "audiocap_id", "image_id", "audio_id", "id")  # AudioCaps, COCO, WavCaps

Row = Mapping[str, Any]
Read = Callable[[], Iterator[tuple[str, str, list[str]]]]
"""Gives for each row its key, the same as it is written in the table, and its texts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """References by key, and how rows find theirs.

    Attributes:
        key: the column that they go by; `file_name` however it is spelled.
        key_of: what a row of the results is called.
        read: reads the rows of the table that have texts, each time anew; several of them may have one key.
    """

    key: str
    key_of: Callable[[Row], str]
    read: Read


def choose_references(
    path: str, rows: Sequence[Row], *, key: str | None = None, columns: Sequence[str] = ()
) -> References:
    """The references of a table, by the key that it shares with the rows.

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
        read = partial(_texts, table, name, of_reference, texts)
        for of_row, matches in zip(of_rows, _count_matches(read, of_rows, rows), strict=True):
            if matches > most:
                best, most = References(key=name, key_of=of_row, read=read), matches
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


def _count_matches(read: Read, of_rows: Sequence[Callable[[Row], str]], rows: Sequence[Row]) -> list[int]:
    """How many rows have references, by each name that they may have; read until all have some by the first."""
    wanted = [{of_row(row) for row in rows} for of_row in of_rows]
    found: list[set[str]] = [set() for _ in of_rows]
    for key, _, _ in read():
        for names, seen in zip(wanted, found, strict=True):
            if key in names:
                seen.add(key)
        if len(found[0]) == len(wanted[0]):
            break
    return [sum(of_row(row) in seen for row in rows) for of_row, seen in zip(of_rows, found, strict=True)]


def _texts(
    table: Table, key: str, of_reference: Callable[[Row], str | None], columns: Sequence[str]
) -> Iterator[tuple[str, str, list[str]]]:
    """The key of each row, as it is compared and as it is written, and its texts that are not blank, if it has some."""
    for place, row in table.rows:
        name = of_reference(row)
        cells = [text for column in columns for text in cell_values(row, column, column)]
        if name is None or not all(isinstance(text, str) for text in cells):
            raise table.wrong(place, f"no {key}, or references that are not text")
        if texts := [text for text in cells if text.strip()]:
            yield _normal(files.base_name(name) if key == "file_name" else name), name, texts
