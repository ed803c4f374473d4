"""Folders whose names are not UTF-8, hold URL syntax or markup: every command takes them for input and output."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .conftest import Run


@pytest.mark.parametrize("name", [b"caf\xe9", b"a::b [x]", b"[/red] {y}", b"50% #3 ?"])
def test_every_command_takes_any_name_of_a_folder(
    run: Run, tiny_clap_dir: Path, captioner: Path, encode: Callable[..., bytes], tmp_path: Path, name: bytes
) -> None:
    folder = tmp_path / os.fsdecode(name)
    sounds = folder / "sounds"
    sounds.mkdir(parents=True)
    (sounds / "a.wav").write_bytes(encode(0.1 * np.random.default_rng(0).standard_normal(16000)))
    (sounds / "b.wav").write_text("no sound")
    (folder / "captions.txt").write_bytes(b"a dog barks\nrain falls\n\xff\n")
    (folder / "labels.txt").write_text("a dog\nrain\n")
    (folder / "refs.jsonl").write_text('{"file_name": "a.wav", "references": ["a dog barks"]}\n')
    lenient = ["--max-dead-letters", 1]
    store = ["--captions", folder / "captions.txt", "--clap", tiny_clap_dir, "--output", folder / "s", *lenient]
    models = ["--captioner", captioner, "--datastore", folder / "s", *lenient]
    tags = ["--labels", folder / "labels.txt", "--clap", tiny_clap_dir]
    commands: list[list[object]] = [
        ["build-datastore", *store],
        ["caption", "--audio", sounds, *models, "--output", folder / "r"],
        ["caption", "--audio", folder / "r" / "dead_letters", sounds / "a.wav", *models, "--output", folder / "again"],
        ["classify", "--audio", sounds, *tags, "--output", folder / "tags", *lenient],
        ["evaluate", "--results", folder / "r", "--references", folder / "refs.jsonl", "--output", folder / "e"],
        ["report", folder / "r", "--output", folder / "page.html"],
        *([command, folder / made] for made in ("s", "r", "tags") for command in ("verify", "inspect")),
    ]
    for words in [*commands, *commands[:5]]:  # the second time there is nothing to do
        outcome = run(*words)
        assert outcome.code == 0, (words, outcome.err)
        assert "Traceback" not in outcome.err
    (part,) = (folder / "r" / "captions").iterdir()
    part.write_bytes(b"XXXX" + part.read_bytes()[4:])  # what is damaged is made again, for all its recordings are named
    outcome = run(*commands[1])
    assert outcome.code == 0, outcome.err
    assert run("verify", folder / "r").code == 0
    counts = json.loads((folder / "again" / "run.json").read_text())["counts"]
    assert counts == {"inputs": 2, "captions": 1, "dead_letters": 1, "skipped": 0}
