"""skipped_files: what was left out, file by file, in `skipped/part-*.parquet`; totals stand in `run.json`.

The file is called by its content, so that none is replaced, and its footer says that it is ours. It is written before
the units; `run.json` names it like the other parts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sonogloss import files
from sonogloss.records import SKIPPED_SCHEMA, SkippedFile, table
from sonogloss.sources import Skipped, printable

SKIPPED = "skipped"
SKIPPED_KEY = b"sonogloss.skipped"
MOST_LISTED = 100_000


@dataclass(frozen=True, kw_only=True)
class SkippedList:
    """What a job leaves out: how many files by reason, and the first of them as rows."""

    counts: Mapping[str, int]
    content: pa.Table

    @property
    def name(self) -> str | None:
        """Of the file below the results directory; None when nothing was left out."""
        if not self.content.num_rows:
            return None
        return f"{SKIPPED}/part-{hashlib.sha256(repr(self.content.to_pylist()).encode()).hexdigest()[:16]}.parquet"


def list_skipped(skipped: Sequence[Skipped]) -> SkippedList:
    """Count what was left out and list the first :data:`MOST_LISTED`."""
    rows = [
        SkippedFile(
            uri=printable(each.uri),
            member=None if each.member is None else printable(each.member),
            code=str(each.code),
            reason=printable(each.reason),
        )
        for each in skipped[:MOST_LISTED]
    ]
    counts = Counter(str(each.code) for each in skipped)
    return SkippedList(counts=dict(sorted(counts.items())), content=table(rows, SKIPPED_SCHEMA))


def write_skipped(output: str, skipped: SkippedList) -> list[dict[str, Any]]:
    """Write the list and return its entry for `run.json`; nothing where nothing was left out."""
    if (name := skipped.name) is None:
        return []
    files.write_table(files.join(output, name), skipped.content.replace_schema_metadata({SKIPPED_KEY: b"1"}))
    return [{**files.file_entry(output, name), "rows": skipped.content.num_rows, "sources": 0}]


NOTHING_SKIPPED = SkippedList(counts={}, content=table([], SKIPPED_SCHEMA))
