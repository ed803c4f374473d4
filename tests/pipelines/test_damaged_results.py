"""Results that somebody damaged: the answer is a sentence, or a whole run."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonogloss.errors import StoreFormatError
from sonogloss.transforms.commit_run import read_run

from .conftest import Outcome, Run, assert_one_line

LACKING = object()
ODD = (LACKING, None, 5, "x", [None], {"a": None})


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    (folder / "a.wav").write_bytes(encode(0.1 * np.random.default_rng(0).standard_normal(16000)))
    (folder / "b.wav").write_text("no sound")
    (folder / "notes.txt").write_text("left out")
    return folder


Caption = Callable[..., Outcome]


@pytest.fixture
def caption(run: Run, captioner: Path, store: Path) -> Caption:
    def _caption(audio: Path, output: Path, *flags: str) -> Outcome:
        models = ["--captioner", captioner, "--datastore", store, "--max-dead-letters", 1]
        return run("caption", "--audio", audio, *models, "--output", output, *flags)

    return _caption


def places(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where each value of nested JSON stands; of a list its first item stands for all."""
    if above:
        yield above
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*above, key))


def with_instead(value: Any, place: tuple[str | int, ...], other: object) -> Any:
    changed = copy.deepcopy(value)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    if other is LACKING:
        del holder[place[-1]]
    else:
        holder[place[-1]] = other
    return changed


def test_no_damage_to_run_json_ends_in_a_traceback(run: Run, caption: Caption, audio: Path, tmp_path: Path) -> None:
    results, references = tmp_path / "r", tmp_path / "refs.jsonl"
    references.write_text('{"file_name": "a.wav", "references": ["a dog barks"]}\n')
    assert caption(audio, results).code == 0
    path = results / "run.json"
    whole = json.loads(path.read_text())
    readers: list[list[object]] = [
        ["inspect", results],
        ["verify", results],
        ["report", results, "--output", tmp_path / "page.html"],
        ["evaluate", "--results", results, "--references", references, "--output", tmp_path / "e", "--overwrite"],
    ]
    for place in places({key: whole[key] for key in ("format", "format_version", "counts", "parts")}):
        for other in ODD:
            path.write_text(json.dumps(with_instead(whole, place, other)))
            try:
                read_run(str(results))
            except StoreFormatError:
                assert run("verify", results).code in (1, 2), (place, other)
                continue
            for words in readers:
                assert run(*words).code in (0, 1, 2), (words[0], place, other)


@pytest.mark.parametrize(
    "place", ["../mine.parquet", "captions/../../mine.parquet", "/etc/hosts", "skipped/a/b.parquet"]
)
def test_a_run_json_that_names_files_elsewhere_touches_none(
    caption: Caption, audio: Path, tmp_path: Path, place: str
) -> None:
    mine, results = tmp_path / "mine.parquet", tmp_path / "r"
    mine.write_text("mine")
    assert caption(audio, results).code == 0
    run_json = json.loads((results / "run.json").read_text())
    entry = {"path": place, "bytes": 4, "sha256": "", "rows": 0}
    for key in ("parts", "manifest"):
        (results / "run.json").write_text(json.dumps(run_json | {key: [*run_json.get(key, []), entry]}))
        for flags in ([], ["--no-resume"], ["--overwrite"]):
            assert_one_line(caption(audio, results, *flags), "is damaged", key)
        assert mine.read_text() == "mine"


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
@pytest.mark.parametrize("folder", ["captions", "dead_letters", "skipped"])
def test_a_folder_of_results_that_somebody_deleted_is_made_again(
    run: Run, caption: Caption, audio: Path, tmp_path: Path, folder: str, flags: list[str]
) -> None:
    sounds, results = tmp_path / "sounds", tmp_path / "r"
    shutil.copytree(audio, sounds)
    assert caption(sounds, results).code == 0
    shutil.rmtree(results / folder)
    shutil.copy(sounds / "a.wav", sounds / "c.wav")
    (sounds / "more.txt").write_text("left out")
    assert caption(sounds, results, *flags).code == 0
    counts = json.loads((results / "run.json").read_text())["counts"]
    assert counts == {"inputs": 5, "captions": 2, "dead_letters": 1, "skipped": 2}
    assert run("verify", results).code == 0
