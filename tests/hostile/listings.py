"""Listings with rows that name nothing, too much, or not what they should."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

Outcomes = Mapping[str, frozenset[str]]


def listings(folder: Path) -> dict[str, tuple[bytes, Outcomes]]:
    """Listings of the recordings `0.wav` to `3.wav` (50 ms each) in a folder, and what the places they name become.

    Each also has a row that names nothing. What a listing names as a whole is not read twice.
    """
    lines = [
        {"uri": f"{folder}/0.wav", "id": "first", "note": "kept"},
        {"uri": f"{folder}/1.wav", "start": 0.0, "end": 0.02},
        {"uri": f"{folder}/1.wav", "start": 7.0, "end": 9.0},
        {"uri": f"{folder}/missing.wav"},
        {"note": "names nothing"},
    ]
    jsonl = "".join(json.dumps(line) + "\n" for line in lines)
    once = frozenset({"ROW", "SKIP+REPEATED"})
    return {
        "rows.jsonl": (
            jsonl.encode(),
            {
                "listed/0.wav": once,
                "listed/1.wav": frozenset({"ROW", "EMPTY"}),
                "listed/missing.wav": frozenset({"READ_ERROR"}),
            },
        ),
        "rows.csv": (
            f"uri,start,end\n{folder}/2.wav,x,1\n{folder}/3.wav,,\n".encode(),
            {"listed/2.wav": once, "listed/3.wav": once},
        ),
    }
