"""Rows of tars in the layout of WebDataset, and of those that nearly have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonogloss.dumps.tar_rows import tar_rows
from tests.archives import put, tar


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        ({"a.txt": b"rain", "a.json": b'{"n": 1}', "a.wav": b""}, ["rain"]),
        ({"a.left.txt": b"rain", "a.json": b'{"n": 1}'}, ["rain"]),
        ({"c.1.json": b'{"text": "rain"}', "c.1.wav": b"", "c.2.json": b'{"text": "wind"}'}, ["rain", "wind"]),
        ({"c.1.txt": b"rain", "c.1.json": b'{"n": 1}', "c.2.txt": b"wind", "c.2.json": b"[]"}, ["rain", None]),
        ({"x.y/c.1.txt": b"rain", "x.y/c.2.txt": b"wind", "x.y/c.txt": b"hail"}, ["rain", "wind", "hail"]),
    ],
)
def test_no_sidecar_is_lost_whatever_dots_are_in_its_name(
    members: dict[str, bytes], texts: list[str | None], tmp_path: Path
) -> None:
    found = list(tar_rows(put(tmp_path, "a.tar", tar(members))))
    assert [number for number, _ in found] == list(range(1, len(texts) + 1))
    assert [None if isinstance(row, str) else row["text"] for _, row in found] == texts
