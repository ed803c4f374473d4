"""Dead letters of a reason that passes are taken up again on request, and nothing else is."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sonogloss.sources import places
from tests.archives import put, wav

from .conftest import CAPTIONS, Run, assert_one_line


class Opening:
    """Opens local files, but those whose name ends in `refused`, and notes the others."""

    def __init__(self, real: Callable[[str], tuple[io.FileIO, int]]) -> None:
        self.refused: str | None = None
        self.opened: set[str] = set()
        self._real = real

    def __call__(self, path: str) -> tuple[io.FileIO, int]:
        if self.refused is not None and path.endswith(self.refused):
            raise PermissionError(13, "Permission denied")
        self.opened.add(Path(path).name)
        return self._real(path)


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Opening:
    opening = Opening(places._open_local)
    monkeypatch.setattr(places, "_open_local", opening)
    return opening


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [row for path in folder.glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: str(row["uri"]))


@pytest.mark.parametrize(("command", "by_folder"), [("caption", True), ("classify", False)])
def test_exactly_the_retryable_ones_are_tried_again(
    run: Run,
    store: Path,
    captioner: Path,
    tiny_clap_dir: Path,
    opening: Opening,
    tmp_path: Path,
    command: str,
    by_folder: bool,
) -> None:
    folder = "captions" if command == "caption" else "labels"
    models = ["--datastore", store, "--captioner", captioner]
    if command == "classify":
        models = ["--clap", tiny_clap_dir, "--labels", put(tmp_path, "labels.txt", "\n".join(CAPTIONS).encode())]
    for number in range(10):
        put(tmp_path / "audio", f"{number}.wav", wav(number) if number != 5 else b"")
    common = [command, *models, "--max-dead-letters", 1, "--json"]
    job = [*common, "--audio", tmp_path / "audio", "--output", tmp_path / "out"]
    fresh = [*common, "--audio", tmp_path / "audio", "--output", tmp_path / "fresh"]

    opening.refused = "/3.wav"
    first = run(*job).report
    assert first["dead_letter_codes"] == {"EMPTY": 1, "READ_ERROR": 1}
    opening.refused = None
    assert run(*job).report["done_before"]
    opening.opened.clear()
    untouched = {path: path.read_bytes() for path in (tmp_path / "out" / folder).iterdir()}
    if by_folder:
        again = run(*common, "--audio", tmp_path / "out" / "dead_letters", "--output", tmp_path / "out")
    else:
        again = run(*job, "--retry-dead-letters")
    assert again.code == 0, again.err
    assert {name for name in opening.opened if name.endswith(".wav")} == {"3.wav"}
    assert again.report["computed"] == 1
    assert again.report["counts"] == {"inputs": 10, folder: 9, "dead_letters": 1, "skipped": 0}
    assert [row["code"] for row in rows(tmp_path / "out/dead_letters")] == ["EMPTY"]
    assert len(untouched.items() & {p: p.read_bytes() for p in (tmp_path / "out" / folder).iterdir()}.items()) == 1
    assert run(*fresh).code == 0
    assert rows(tmp_path / "out" / folder) == rows(tmp_path / "fresh" / folder)
    assert run("verify", tmp_path / "out").code == 0
    assert run(*job, "--retry-dead-letters").report["done_before"]


@pytest.mark.parametrize("option", ["--overwrite", "--no-resume"])
def test_to_replace_and_to_take_up_again_exclude_each_other(run: Run, tmp_path: Path, option: str) -> None:
    job = ["classify", "--labels", "pocket", "--audio", tmp_path, "--output", tmp_path / "out"]
    assert_one_line(run(*job, "--retry-dead-letters", option), "--retry-dead-letters", "Give one of them")


def test_captions_that_are_printed_have_no_dead_letters(run: Run, tmp_path: Path) -> None:
    assert_one_line(run("caption", tmp_path / "a.wav", "--retry-dead-letters"), "--output DIR")
