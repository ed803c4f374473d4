"""Several attempts at one unit: the files of the first stay, whatever the others do and whenever they come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sonogloss.errors import OutputError
from sonogloss.transforms.work import Batch, UnitResult
from sonogloss.transforms.write_rows import CaptionRows, UnitWriter

from .conftest import MakeBatch


def attempt(output: str, batch: Batch) -> UnitResult:
    writer = UnitWriter(output, configuration="c0ffee", kind=CaptionRows(method="drcap"), rows_a_part=4)
    result = writer.add(batch)
    assert result is not None
    return result


@pytest.mark.parametrize("root", ["local", "memory"])
def test_a_late_attempt_changes_nothing_and_names_the_same_files(
    root: str, tmp_path: Path, make_batch: MakeBatch
) -> None:
    output = str(tmp_path) if root == "local" else f"memory://{tmp_path}"
    first = attempt(output, make_batch(9))
    assert attempt(output, make_batch(9)) == first
    assert attempt(output, replace(make_batch(9), scores=(0.25,) * 9)) == first


def test_an_attempt_that_was_cut_off_is_continued(tmp_path: Path, make_batch: MakeBatch) -> None:
    expected = attempt(str(tmp_path / "whole"), make_batch(9))
    attempt(str(tmp_path / "cut"), make_batch(9))
    for part in expected.parts[1:]:
        (tmp_path / "cut" / part.path).unlink()
    assert attempt(str(tmp_path / "cut"), make_batch(9)) == expected


def test_an_attempt_with_other_recordings_is_refused_and_changes_nothing(tmp_path: Path, make_batch: MakeBatch) -> None:
    first = attempt(str(tmp_path), make_batch(3))
    before = {part.path: (tmp_path / part.path).read_bytes() for part in first.parts}
    with pytest.raises(OutputError, match=r"'captions/part-u-000\.parquet' was written by another attempt"):
        attempt(str(tmp_path), make_batch(2))
    assert {path: (tmp_path / path).read_bytes() for path in before} == before
