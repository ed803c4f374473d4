"""write_zste: all items -> `zste/items.parquet`, and last `zste/summary.parquet`, with which the evaluation is done."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from sonogloss import files
from sonogloss.records import DEAD_LETTER_SCHEMA, schema_of, table
from sonogloss.temporal.zste import Item
from sonogloss.temporal.zste_summary import SummaryRow, in_order, summarise
from sonogloss.transforms.judge_items import JudgedUnit

SUMMARY, ITEMS, DEAD_LETTERS = "zste/summary.parquet", "zste/items.parquet", "zste/dead_letters.parquet"
FACTS_KEY = b"sonogloss"


def write_zste(units: Iterable[JudgedUnit], *, output: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Write an evaluation; its summary last.

    Args:
        units: in any order.
        output: the directory.
        facts: what made it, kept with the counts in the summary's metadata.

    Returns:
        The facts and `counts`: `encoded` (sounds that went through the model), `items`, `left_out` (groups with a clip
        that cannot be used), `dead_letters`.
    """
    units = list(units)
    items = in_order(item for unit in units for item in unit.items)
    # A clip that cannot be read fails in every unit that needs it, and is one dead letter.
    dead = {dead_letter.clip_id: dead_letter for unit in units for dead_letter in unit.dead}
    counts = {
        "encoded": sum(unit.encoded for unit in units),
        "items": len(items),
        "left_out": sum(unit.left_out for unit in units),
        "dead_letters": len(dead),
    }
    facts = {**facts, "counts": counts}
    dead_letters = sorted(dead.values(), key=lambda dead_letter: dead_letter.uri)
    files.write_table(files.join(output, DEAD_LETTERS), table(dead_letters, DEAD_LETTER_SCHEMA))
    rows = [asdict(item) for item in items]
    files.write_table(files.join(output, ITEMS), pa.Table.from_pylist(rows, schema=schema_of(Item)))
    summary = pa.Table.from_pylist([asdict(row) for row in summarise(items)], schema=schema_of(SummaryRow))
    metadata = {FACTS_KEY: json.dumps(facts).encode()}
    files.write_table(files.join(output, SUMMARY), summary.replace_schema_metadata(metadata))
    return facts
