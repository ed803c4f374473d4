"""Small tables that people or other tools write (references, predictions): jsonl, json, csv, tsv or Parquet."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa

from sonogloss import files
from sonogloss.errors import FormatError, MissingInputError


def read_records(path: str, *, option: str) -> list[dict[str, Any]]:
    """All rows of a file, in order; compressed ones (`.gz`, `.zst`) too.

    Raises:
        MissingInputError: there is no such file.
        FormatError: it is not what its name says; the line is named.
    """
    if not files.exists(path) or files.is_dir(path):
        raise MissingInputError(f"{option} {path!r} is not a file.", "Check the path.")
    name = files.base_name(path).lower()
    for ending in (".gz", ".zst", ".bz2", ".xz"):
        name = name.removesuffix(ending)
    try:
        if name.endswith((".parquet", ".pq")):
            rows = files.read_table(path).to_pylist()
        elif name.endswith((".csv", ".tsv")):
            rows = list(csv.DictReader(io.StringIO(_text(path), newline=""), delimiter="\t" if ".tsv" in name else ","))
        elif name.endswith((".jsonl", ".ndjson", ".json")):
            rows = _json_rows(path, _text(path), option)
        else:
            raise FormatError(
                f"{option} {path!r} is not a kind of table that can be read.",
                "Give .jsonl, .json, .csv, .tsv or .parquet.",
            )
    except (pa.ArrowException, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise FormatError(
            f"{option} {path!r} cannot be read ({error}).", "Check that its content is what its name says."
        ) from error
    if not rows:
        raise FormatError(f"{option} {path!r} holds no rows.", "Give a file with one row a clip.")
    return rows


def _text(path: str) -> str:
    with files.open_read(path, compression="infer") as handle:
        return handle.read().decode("utf-8-sig")


def _json_rows(path: str, text: str, option: str) -> list[dict[str, Any]]:
    if text.lstrip().startswith("["):
        lines = [(0, text)]
    else:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    rows: list[dict[str, Any]] = []
    for number, line in lines:
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise FormatError(
                f"{option} {path!r}, line {number or error.lineno}: not JSON ({error.msg}).", "Correct the line."
            ) from error
        rows += value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise FormatError(f"{option} {path!r} holds JSON that is not objects.", "Give one object a row.")
    return rows
