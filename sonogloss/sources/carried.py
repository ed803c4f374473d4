"""What stands beside a recording, in a listing, a table or a sidecar, and goes with it into its rows.

Rows hold it as one JSON object, so that all parts of a run have the same columns, whatever its sources say, and any
reader of Parquet opens them. Large and binary values are left out, and their names stand under :data:`LEFT_OUT`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from sonogloss.sources.names import storable

LEFT_OUT = "sonogloss:left_out"
"""The key under which a recording's `extra` names what was not carried along."""

_VALUES = 16  # of the largest size that one recording may carry
_DEPTH = 32  # of a value: lists in lists


def carried(cells: Mapping[str, Any], limit: int, left_out: Iterable[str] = ()) -> dict[str, Any]:
    """The small values of a row, and the names of the others.

    Args:
        cells: the row.
        limit: characters of a value, at most.
        left_out: what was not read at all.
    """
    found: dict[str, Any] = {}
    names, room = [*_names(cells), *left_out], _VALUES * limit
    for name, value in cells.items():
        if name == LEFT_OUT:
            continue
        size = len(value if isinstance(value, str) else repr(value)) if _is_text(value) else limit + 1
        if size > min(limit, room):
            names.append(name)
        else:
            found[storable(name)], room = storable(value), room - size
    return found | _left_out(names)


def joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What two places say of one recording; the second one's word counts."""
    both = {name: value for name, value in {**first, **second}.items() if name != LEFT_OUT}
    return both | _left_out(name for name in [*_names(first), *_names(second)] if name not in both)


def as_json(extra: Mapping[str, Any]) -> str | None:
    """The JSON object that a row holds; None when there is nothing to carry.

    Numbers that are not finite are null, times are in ISO 8601, and what JSON does not know is a string.
    """
    return json.dumps(_plain(extra), ensure_ascii=False, allow_nan=False) if extra else None


def _names(extra: Mapping[str, Any]) -> list[str]:
    """What was left out before; anybody may have written the key, and anything under it."""
    names = extra.get(LEFT_OUT)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _left_out(names: Iterable[str]) -> dict[str, Any]:
    ordered = sorted({storable(name) for name in names})
    return {LEFT_OUT: ordered} if ordered else {}


def _is_text(value: Any, depth: int = _DEPTH) -> bool:
    """Is there nothing binary in a value, and no end of lists in lists?"""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_text(item, depth - 1) for item in value)
    return not isinstance(value, bytes | bytearray | memoryview)


def _plain(value: Any) -> Any:
    """A value in the types of JSON."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {storable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return storable(value.isoformat() if hasattr(value, "isoformat") else str(value))
