"""Results and references as tables have them, spread over buckets of keys that workers can join by themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sonogloss import files
from sonogloss.errors import OptionError, StoreFormatError
from sonogloss.pipelines.running.references import KEYS, choose_references
from sonogloss.tables import Table, open_table
from sonogloss.transforms.commit_run import RUN_FILE, read_parts, read_run
from sonogloss.transforms.join_references import JoinPlan
from sonogloss.transforms.key_buckets import REFERENCES, ROWS, ROWS_A_PART, bucket_writer

BUCKET_BYTES = 16 << 20  # of the table of references
_MOST_BUCKETS = 64
_LOOKED_AT = 20_000  # rows that say which column is the key
_AT_ONCE = 10_000  # references
_COLUMNS = ("clip_id", "uri", "caption", "clap_score")

Row = Mapping[str, Any]


def spread_rows(
    read: Callable[[], Iterator[Row]],
    folder: str,
    *,
    results: str,
    references: str,
    key: str | None = None,
    columns: Iterable[str] = (),
    best: bool = False,
) -> JoinPlan:
    """Choose the key, and spread results and references over buckets by it.

    Args:
        read: reads the rows, with `caption` and a key; at least one.
        folder: where the buckets go.
        results: where the rows come from, for messages.
        references: the table of references.
        key: the key column of the references, where its name does not say so.
        columns: the text columns of the references, likewise.
        best: of several captions of a key, only the one with the highest `clap_score` counts, the first of equal ones.

    Raises:
        InputError: the results or the references cannot be used.
    """
    rows = read()
    first = list(itertools.islice(rows, _LOOKED_AT))
    found = choose_references(references, first, key=key, columns=list(columns))
    if best and found.key == "clip_id":
        raise OptionError(
            "--per recording needs references of recordings, and these go by clip_id.",
            "Give references by file_name or uri, or leave it out.",
        )
    buckets = min(_MOST_BUCKETS, 1 + files.size(references) // BUCKET_BYTES)
    by_file = found.key == "file_name"
    with bucket_writer(folder, REFERENCES, buckets) as write:
        numbered = enumerate(found.read())
        while some := list(itertools.islice(numbered, _AT_ONCE)):
            write([(number, own, name if by_file else None, texts) for number, (own, name, texts) in some])
    count = 0
    every = itertools.chain(first, rows)
    with bucket_writer(folder, ROWS, buckets) as write:
        while part := [_spread(row, found.key_of(row), by_file) for row in itertools.islice(every, ROWS_A_PART)]:
            write([(number, *cells) for number, cells in enumerate(part, count)])
            count += len(part)
    return JoinPlan(
        folder=folder,
        buckets=buckets,
        rows=count,
        results=results,
        references=references,
        key=found.key,
        first=found.key_of(first[0]),
        best=best,
    )


def _spread(row: Row, key: str, by_file: bool) -> tuple[str, str | None, str | None, str, float | None]:
    score = row.get("clap_score")
    return (
        key,
        str(row.get("uri", key)) if by_file else None,
        None if row.get("clip_id") is None else str(row["clip_id"]),
        row["caption"] or "",  # nothing where a tool wrote null
        None if score is None else float(score),
    )


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
