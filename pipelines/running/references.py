"""References as people have them: which column is the key, which ones hold the text, and which rows they belong to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sonogloss import files
from sonogloss.errors import FormatError
from sonogloss.tables import Table, cell_values, read_table

KEYS = ("clip_id", "uri", "file_name", "filename", "fname")
_TEXTS = ("references", "captions", "reference", "caption", "text", "raw")
_NUMBERED = re.compile(r"(?:caption|reference)_?\d+")  # Clotho: caption_1 to caption_5
_FILE_NAMES = frozenset({"file_name", "filename", "fname"})

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class References:
    """References, and how rows find theirs.

    Attributes:
        key: the column of the references that they go by; `file_name` however it is spelled.
        known: the references by key, none of them empty.
        keys: the key of every row of the results.
    """

    key: str
    known: Mapping[str, list[str]]
    keys: Sequence[str]


def read_references(
    path: str, rows: Sequence[Row], *, key: str | None = None, columns: Sequence[str] = ()
) -> References:
    """References out of a table, with the key that it shares with the rows.

    A key is `clip_id`, `uri` or a file name, which is compared without its folder. Any other column that is named as
    the key is compared with the column of that name in the rows, or else with file names, with and without their
    ending. AudioCaps' tables go by `youtube_id` and `start_time`, or by `audiocap_id`. Keys match under Unicode NFC.

    Texts are `references` or `captions` (a list), `caption_1`, `caption_2` ... (Clotho), `reference`, `caption`,
    `text` or `raw`. Several rows of one key add up.

    Args:
        path: csv, tsv, json, jsonl or Parquet.
        rows: of the results; at least one.
        key: the column to go by, where it is not found by its name.
        columns: the columns with texts, where they are not found by their names.

    Raises:
        FormatError: there is no such key, there are no texts, or nothing matches.
    """
    table = read_table(path, option="--references")
    texts = _text_columns(table, columns)
    candidates = _keys_of_references(table, key)
    best: References | None = None
    for name, of_reference in candidates:
        for of_row in _keys_of_rows(name, rows):
            found = _gather(table, name, of_reference, texts, [of_row(row) for row in rows])
            if best is None or _matches(found) > _matches(best):
                best = found
    if best is None:
        raise FormatError(
            f"{table.name} (columns: {', '.join(table.columns)}) has no key column that the results have.",
            f"Give one of {', '.join(KEYS[:3])}, or name one with --key.",
        )
    if best.key == "file_name":
        column = table.require(*(name for name in KEYS if name in _FILE_NAMES))
        check_names([str(row[column]) for _, row in table.rows], "--references", path)
    return best


def _matches(references: References) -> int:
    return len(references.known.keys() & set(references.keys))


def normal(name: str) -> str:
    """A key as it is compared: NFC, because macOS writes file names decomposed."""
    return unicodedata.normalize("NFC", name)


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

    def column(name: str) -> Callable[[Row], str | None]:
        return lambda row: None if row.get(name) is None else str(row[name])

    def file_name(name: str) -> Callable[[Row], str | None]:
        return lambda row: None if row.get(name) is None else files.base_name(str(row[name]))

    if key is not None:
        table.require(key)
        return [("file_name", file_name(key)) if key in _FILE_NAMES else (key, column(key))]
    found = [
        ("file_name", file_name(name)) if name in _FILE_NAMES else (name, column(name))
        for name in KEYS
        if name in table.columns
    ]
    if {"youtube_id", "start_time"} <= set(table.columns):
        found.append(("youtube_id", lambda row: f"{row.get('youtube_id')}_{row.get('start_time')}"))
        found += [(name, column(name)) for name in ("youtube_id", "audiocap_id") if name in table.columns]
    return found


def _keys_of_rows(name: str, rows: Sequence[Row]) -> list[Callable[[Row], str]]:
    """What rows may be called by a key of this name."""
    if name in rows[0] and name != "file_name":
        return [lambda row: _as_key(row.get(name))]
    if name in ("clip_id", "uri") or not {"uri", "file_name"} & rows[0].keys():
        return []

    def base(row: Row) -> str:
        return files.base_name(_as_key(row.get("file_name", row.get("uri"))))

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


def _as_key(value: object) -> str:
    """A key as text; null is no word, and matches nothing."""
    return "" if value is None else str(value)


def _gather(
    table: Table, key: str, of_reference: Callable[[Row], str | None], columns: Sequence[str], keys: Sequence[str]
) -> References:
    known: dict[str, list[str]] = {}
    for place, row in table.rows:
        name = of_reference(row)
        texts = [text for column in columns for text in cell_values(row, column, column)]
        if name is None or not all(isinstance(text, str) for text in texts):
            raise table.wrong(place, f"no {key}, or references that are not text")
        known.setdefault(normal(name), []).extend(text for text in texts if text.strip())
    return References(
        key=key, known={name: texts for name, texts in known.items() if texts}, keys=[normal(name) for name in keys]
    )


def check_names(names: Sequence[str], option: str, path: str) -> None:
    """File names are compared without their folders: two files of one name cannot be told apart.

    Raises:
        FormatError: there are two.
    """
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(files.base_name(name), name)
        if first != name:
            raise FormatError(
                f"{option} {path!r} names two files {files.base_name(name)!r}: {first!r} and {name!r}.",
                "Use the key uri or clip_id.",
            )
