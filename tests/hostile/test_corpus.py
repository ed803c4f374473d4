"""A whole job over the corpus: everything becomes rows, a dead letter or a skip, each with its expected code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sonogloss.pipelines.command_line import main
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.sources import unprinted
from tests.hostile.corpus import Expected, Thing, write_corpus

TWO_WORKERS = ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected]:
    folder = tmp_path_factory.mktemp("corpus")
    return folder, write_corpus(folder)


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory, corpus: tuple[Path, Expected], tiny_clap_dir: Path) -> Any:
    """Run the job; its output."""

    def _classify(*more: str) -> Path:
        output = tmp_path_factory.mktemp("job") / "tags"
        labels = output.parent / "labels.txt"
        labels.write_text("dog\nrain\n")
        argv = ["classify", "--audio", *patterns(corpus[0]), "--labels", labels, "--output", output]
        argv += ["--clap", tiny_clap_dir, "--max-dead-letters", "1", "--json", *more]
        assert main([str(word) for word in argv]) == 0
        return output

    return _classify


def patterns(folder: Path) -> list[str]:
    return [str(folder), *map(str, sorted((folder / "listings").iterdir()))]


def outcomes(folder: Path, output: Path) -> dict[Thing, set[str]]:
    """What became of each thing: ROW, ROW+FLAG, codes, SKIP+code."""
    found: dict[Thing, set[str]] = {}

    def note(uri: str, member: str | None, what: Iterable[str]) -> None:
        thing = Thing(str(Path(uri).relative_to(folder)), member)
        found.setdefault(thing, set()).update(what)

    for row in pq.read_table(output / "labels").to_pylist():
        note(*place(row), {"ROW"} | {f"ROW+{flag}" for flag in row["flags"]})
    for row in pq.read_table(output / "dead_letters").to_pylist():
        note(*place(row), [row["code"]])
    for skipped in list_audio(patterns(folder))[1].rows:
        note(*place(vars(skipped)), [f"SKIP+{skipped.code}"])
    return found


def place(row: dict[str, Any]) -> tuple[str, str | None]:
    member = row["member"]
    return unprinted(row["uri"]), None if member is None else unprinted(member)


def check(corpus: tuple[Path, Expected], output: Path) -> None:
    folder, expected = corpus
    found = outcomes(folder, output)
    assert found.keys() == expected.keys()
    wrong = {
        thing: (sorted(what), sorted(expected[thing]))
        for thing, what in found.items()
        if not what & expected[thing] or {code for code in what if not code.startswith("ROW")} - expected[thing]
    }
    assert not wrong
    run = json.loads((output / "run.json").read_text())
    counts, (sources, skipped) = run["counts"], list_audio(patterns(folder))
    assert counts["inputs"] == counts["labels"] + counts["dead_letters"] + counts["skipped"]
    assert run["skipped_codes"] == skipped.counts
    assert run["configuration"]["sources"] == len(sources)
    letters = pd.read_parquet(output / "dead_letters")
    assert Counter(letters["code"]) == run["dead_letter_codes"]
    assert letters["message"].str.len().gt(10).all()
    assert not pd.read_parquet(output / "labels")["clip_id"].duplicated().any()


def test_there_is_much_of_it_and_it_is_the_same_in_every_run(corpus: tuple[Path, Expected], tmp_path: Path) -> None:
    folder, expected = corpus
    assert len(expected) >= 500
    assert write_corpus(tmp_path) == expected
    for path in sorted(folder.rglob("*.*")):
        other = tmp_path / path.relative_to(folder)
        if path.is_file() and not path.is_symlink() and "listings" not in path.parts:  # those hold absolute paths
            assert path.read_bytes() == other.read_bytes(), path


def test_everything_is_a_row_a_skip_or_a_dead_letter_with_its_code(
    corpus: tuple[Path, Expected], classify: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    output = classify()
    printed = capfd.readouterr().err.splitlines()
    assert [line for line in printed if not line.startswith("sonogloss") and " a second" not in line] == []
    check(corpus, output)
    assert sorted(path.name for path in output.iterdir()) == ["dead_letters", "labels", "run.json", "skipped"]


@pytest.mark.slow
def test_two_workers_write_the_same(corpus: tuple[Path, Expected], classify: Callable[..., Path]) -> None:
    output = classify(*TWO_WORKERS)
    check(corpus, output)
    alone = classify()
    for folder, key in (("labels", ["clip_id"]), ("dead_letters", ["uri", "member", "message"])):
        one, other = (pd.read_parquet(each / folder).sort_values(key, ignore_index=True) for each in (alone, output))
        pd.testing.assert_frame_equal(one, other)
