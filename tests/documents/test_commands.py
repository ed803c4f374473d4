"""The documents run: every command and every Python block of a page, in order, in one folder, as a reader would.

Models with a hub id are random and tiny, recordings half a second long (:mod:`tests.documents.stand_ins`), and what
learns learns for a step. Of the commands for Dataflow the flags of its runner are left out and the bucket is in memory.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest

import sonogloss
from sonogloss.pipelines.command_line import main
from tests.documents import stand_ins
from tests.documents.pages import GUIDES, Block, blocks, commands, name_of

# What makes a command short enough for a test; every other option is the page's own.
CUTS: dict[str, dict[str, int]] = {
    "train-captioner": {"steps": 2, "batch_size": 4, "max_new_tokens": 6, "beams": 2},
    "make-captioner": {"candidates": 4},
    "tune-labels": {"steps": 1, "slots": 2},
    "post-train-clap": {"steps": 1, "groups": 2, "per_class": 1},
    "zste": {"items": 4},
}
# What Dataflow takes, and a local runner does not. Each has one value.
DATAFLOW = {
    *("--runner", "--project", "--region", "--job_name", "--temp_location", "--staging_location"),
    *("--sdk_container_image", "--sdk_location", "--experiments", "--machine_type", "--disk_size_gb"),
    *("--max_num_workers", "--number_of_worker_harness_threads", "--dataflow_service_options"),
}


@pytest.fixture(scope="session")
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("hub")
    stand_ins.write_hub_cache(cache)
    return cache


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    stand_ins.write_checkpoint_files(folder)
    return [path for path in folder.iterdir() if path.is_file()]


@pytest.fixture
def reader(tmp_path: Path, hub_cache: Path, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A reader's folder, which is the current one; the model hub is the cache of stand-ins."""
    stand_ins.write_files(tmp_path)
    stand_ins.write_bucket(tmp_path)
    for path in checkpoints:
        os.link(path, tmp_path / path.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub_cache))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    fsspec.filesystem("memory").store.clear()


def arguments(words: Sequence[str]) -> list[str] | None:
    """What follows `sonogloss` in a command, however it is started; None for other programs."""
    if words[0] == "sonogloss":
        return list(words[1:])
    if "sonogloss" in words and words[words.index("sonogloss") - 1] == "-m":
        return list(words[words.index("sonogloss") + 1 :])
    return None


def shorten(argv: Sequence[str]) -> list[str]:
    """The same command for a test: local, in memory, and short."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in DATAFLOW:
            next(words)
        else:
            kept.append(word.replace("gs://my-bucket", stand_ins.BUCKET))
    for name, value in CUTS.get(argv[0], {}).items():
        kept += [f"--{name.replace('_', '-')}", str(value)]
    return kept


def run_command(block: Block, argv: Sequence[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(shorten(argv))
    assert code == 0, f"{block.place}: sonogloss {' '.join(argv)}\nexit code {code}\n{out.getvalue()}{err.getvalue()}"


def run_python(block: Block, names: dict[str, Any]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile("\n" * block.line + block.text, block.place, "exec"), names)


def shorten_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    for command, cuts in CUTS.items():
        name = command.replace("-", "_")
        function = getattr(sonogloss, name)
        monkeypatch.setattr(
            sonogloss, name, lambda _job=function, _cuts=cuts, **options: _job(**{**options, **_cuts}), raising=False
        )


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_the_commands_and_the_python_of_a_page_run(page: Path, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = commands(page)
    names: dict[str, Any] = {"__name__": "__main__"}
    if any(block.language == "python" for block in blocks(page)):
        shorten_functions(monkeypatch)
    for block in blocks(page):
        if block.language == "python":
            run_python(block, names)
        for where, words in shell:
            if where.line == block.line and (argv := arguments(words)) is not None:
                run_command(block, argv)


@pytest.mark.parametrize("command", ["captoin --audio a.wav", "caption --audoi a.wav --output results"])
def test_a_command_that_the_parser_does_not_know_fails_its_page(command: str) -> None:
    block = Block(page=GUIDES[0], line=1, language="sh", text=command)
    with pytest.raises(AssertionError, match=r"README\.md:1: sonogloss .*\s+exit code 2"):
        run_command(block, command.split())
