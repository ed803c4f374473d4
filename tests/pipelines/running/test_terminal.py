"""Captions, names and messages are shown as they are: a terminal acts on none of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from sonogloss.pipelines.running import terminal as room
from sonogloss.pipelines.running.terminal import plain, plain_console
from tests.pipelines.conftest import Run

HOSTILE = ["[/red]", "[bold]x", "[link=http://x]y[/link]", ":smile:", "\x1b[31mred", "\x07", "\x9b31m", "\u202eabc"]
SHOWN = ["[/red]", "[bold]x", "[link=http://x]y[/link]", ":smile:", "\\x1b[31mred", "\\x07", "\\x9b31m", "\\u202eabc"]


def assert_nothing_acts(text: str) -> None:
    """Nothing of what a terminal acts on but the ends of lines."""
    assert plain(text.replace("\n", "")) == text.replace("\n", "")


@given(st.text())
def test_plain_text_is_one_line_that_can_be_written(text: str) -> None:
    shown = plain(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert plain(shown) == shown
    if text.isascii() and text.isprintable():
        assert shown == text


def test_words_of_every_script_stay() -> None:
    text = "鳥が　鳴く، собака лает, 👩‍🚒 caf\u00e9\u00a0"
    assert plain(text) == text


def test_a_long_line_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "folder/" * 40
    plain_console().print(f"{path}: written")
    assert capsys.readouterr().out == f"{path}: written\n"


@pytest.mark.parametrize(
    ("text", "shown"), [*zip(HOSTILE, SHOWN, strict=True), ("a\nb", "a\\nb"), ("\udcff", "\\udcff")]
)
def test_a_line_a_cell_and_a_title_show_what_they_hold(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console = plain_console()
    console.print(f"<{text}>")
    table = Table("column", title=f"{{{text}}}", min_width=40)
    table.add_row(f"({text})")
    console.print(table)
    out = capsys.readouterr().out
    for quoted in (f"<{shown}>", f"{{{shown}}}", f"({shown})"):
        assert quoted in out
    assert_nothing_acts(out)


@pytest.fixture
def hostile(
    run: Run, tmp_path: Path, store: Path, captioner: Path, tiny_clap_dir: Path, encode: Callable[..., bytes]
) -> dict[str, list[Any]]:
    """Commands by name over files, captions and labels whose every name is hostile."""
    names = "".join(HOSTILE).replace("/", "|")
    folder = tmp_path / names
    audio = folder / "audio"
    audio.mkdir(parents=True)
    (audio / f"{names}.wav").write_bytes(encode(0.1 * np.random.default_rng(0).standard_normal(32000)))
    (audio / f"{names}2.wav").write_text("no sound")
    (folder / "dump.txt").write_text("\n".join(f"{text} {number}" for number, text in enumerate(HOSTILE)))
    (folder / "labels.txt").write_text("\n".join(HOSTILE))
    shutil.copytree(store, folder / "store")
    clap = ["--clap", tiny_clap_dir]
    build = ["build-datastore", "--captions", folder / "dump.txt", "--output", folder / "own", *clap]
    classify = ["classify", "--audio", audio, "--labels", folder / "labels.txt", *clap]
    classify += ["--output", folder / "tags", "--max-dead-letters", "1"]
    caption = ["caption", "--audio", audio, "--captioner", captioner, "--datastore", store]
    caption += ["--output", folder / "results", "--max-dead-letters", "1"]
    return {
        "build-datastore": build,
        "search": ["search", folder / "own", "--text", "[/red]\x1b[31m"],
        "inspect": ["inspect", folder / "own"],
        "caption, tried": [*caption, "--dry-run"],
        "caption": caption,
        "classify, tried": [*classify, "--dry-run"],
        "classify": classify,
        "inspect results": ["inspect", folder / "tags"],
        "verify": ["verify", folder / "tags"],
        "verify what is damaged": ["verify", folder / "results"],
        "a folder that is not there": ["inspect", folder / "nowhere"],
        "an option that is none": ["verify", folder, "--[/red]\x1b[31m"],
        "a label file that is not there": ["classify", "--audio", audio, "--labels", folder / "x", "--output", folder],
    }


def test_no_command_interprets_what_it_shows(run: Run, hostile: dict[str, list[Any]]) -> None:
    for name, argv in hostile.items():
        if name == "verify what is damaged":
            for part in Path(argv[1]).glob("captions/*.parquet"):
                part.write_text("x")
        outcome = run(*argv)
        expected = 2 if name.startswith("a") else 1 if "damaged" in name else 0
        assert outcome.code == expected, (name, outcome)
        assert_nothing_acts(outcome.out)
        assert_nothing_acts(outcome.err)
        if name in ("search", "classify, tried"):
            assert "[/red]" in outcome.out, name


def test_results_go_through_one_console() -> None:
    folder = Path(room.__file__).parents[1]
    others = [path.name for path in folder.rglob("*.py") if re.search(r"\bConsole\(", path.read_text())]
    assert others == ["displays.py"]  # numbers of progress
