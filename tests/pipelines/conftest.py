"""A command line to call, and small stores and recordings to call it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.command_line import main

CAPTIONS = [
    "a dog barks twice",
    "rain falls on a roof",
    "a man speaks and a door closes",
    "birds sing far away",
    "a siren wails",
    "water drips into a sink",
    "a cat meows",
    "thunder rumbles over the sea",
]


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line as a user does."""

    def _run(*argv: object) -> Outcome:
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return _run


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_clap_dir: Path) -> Path:
    """A small datastore made with the tiny CLAP."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "dump.txt").write_text("\n".join(CAPTIONS))
    argv = ["build-datastore", "--captions", folder / "dump.txt", "--output", folder / "store", "--clap", tiny_clap_dir]
    assert main([*map(str, argv), "--json"]) == 0
    return folder / "store"


def assert_one_line(outcome: Outcome, *words: str) -> None:
    """A user's mistake: exit code 2, one line on standard error that holds these words, and no traceback."""
    assert outcome.code == 2, outcome
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("sonogloss: error: ")
    for word in words:
        assert word in lines[0]
