"""Cells that hold lists, as people and tools write them."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import tokenize
from collections.abc import Mapping
from typing import Any

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a pair, as JSON and Python spell it


def cell_values(row: Mapping[str, Any], many: str, one: str) -> list[Any]:
    """What a row holds in the column `many`, a list, or else in the column `one`, a single value.

    In csv a list is written as JSON, or as Python spells it, which is what pandas writes.
    """
    value = row.get(many, row.get(one))
    if isinstance(value, str) and many in row and value.lstrip().startswith("["):
        if (found := text_list(value)) is not None:
            return list(whole_letters(found, value))
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                value = parse(value)
                break
    return value if isinstance(value, list) else [value]


def text_list(cell: str) -> list[str] | None:
    """The strings of a list that is written in a cell as JSON, or as Python or NumPy spell it; None for anything else.

    NumPy puts no commas: `['rain' 'wind']`.
    """
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(cell)
        return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None
    try:
        tokens = [
            token for token in tokenize.generate_tokens(io.StringIO(cell.strip()).readline) if token.string.strip()
        ]
        inside = [token for token in tokens[1:-1] if token.string != ","]
        if [tokens[0].string, tokens[-1].string] != ["[", "]"] or any(t.type != tokenize.STRING for t in inside):
            return None
        values = [ast.literal_eval(token.string) for token in inside]
    except (tokenize.TokenError, IndexError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return values if all(isinstance(value, str) for value in values) else None


def whole_letters(value: Any, text: str) -> Any:
    """A value that came out of this text of JSON or Python, with U+FFFD for each half of an emoji."""
    if not _HALF.search(text):
        return value
    return json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False)))
