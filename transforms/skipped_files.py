"""skipped_files: what was left out, file by file, in `skipped/part-*.parquet`; totals stand in `run.json`.

The file is called by its content, so that none is replaced, and its footer says that it is ours. It is written before
the units; `run.json` names it like the other parts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sonogloss import files
from sonogloss.records import SKIPPED_SCHEMA, SkippedFile, table
from sonogloss.sources import Skipped, printable

SKIPPED = "skipped"
SKIPPED_KEY = b"sonogloss.skipped"
MOST_LISTED = 100_000


@dataclass(frozen=True)
class SkippedList:
    """What a job leaves out: how many files by reason, and the first :data:`MOST_LISTED` of them as rows."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: list[SkippedFile] = field(default_factory=list)

    def add(self, skipped: Skipped) -> None:
        """Count what was left out, and list it while there is room."""
        self.counts[str(skipped.code)] += 1
        if len(self.rows) < MOST_LISTED:
            member = None if skipped.member is None else printable(skipped.member)
            uri, reason = printable(skipped.uri), printable(skipped.reason)
            self.rows.append(SkippedFile(uri=uri, member=member, code=str(skipped.code), reason=reason))

    @property
    def content(self) -> pa.Table:
        """The rows as they are written."""
        return table(self.rows, SKIPPED_SCHEMA)

    @property
    def name(self) -> str | None:
        """Of the file below the results directory; None when nothing was left out."""
        if not self.rows:
            return None
        return f"{SKIPPED}/part-{hashlib.sha256(repr(self.content.to_pylist()).encode()).hexdigest()[:16]}.parquet"


def write_skipped(output: str, skipped: SkippedList) -> list[dict[str, Any]]:
    """Write the list and return its entry for `run.json`; nothing where nothing was left out."""
    if (name := skipped.name) is None:
        return []
    files.write_table(files.join(output, name), skipped.content.replace_schema_metadata({SKIPPED_KEY: b"1"}))
    return [{**files.file_entry(output, name), "rows": len(skipped.rows), "sources": 0}]


NOTHING_SKIPPED = SkippedList()
