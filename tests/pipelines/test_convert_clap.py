from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from sonogloss import files
from sonogloss.clap import load_clap
from tests.laion_checkpoints import laion_state, tiny_model, write_checkpoint, write_tokenizer
from tests.tower_checkpoints import write_tower_checkpoint

from .conftest import Run, assert_one_line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint `random.pt` and its tokenizer `roberta-base`."""
    folder = tmp_path_factory.mktemp("laion")
    write_checkpoint(folder / "random.pt", laion_state(tiny_model(write_tokenizer(folder / "roberta-base"))))
    return folder


def test_a_checkpoint_becomes_a_directory_that_a_store_can_be_built_with(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    clap, store = tmp_path / "clap", tmp_path / "store"
    done = run("convert-clap", folder / "random.pt", "--tokenizer", folder / "roberta-base", "--output", clap, "--json")
    assert done.code == 0, done.err
    report = done.report
    assert report["checkpoint"]["sha256"] == files.digest(str(folder / "random.pt"))
    assert report["fingerprint"] == load_clap(str(clap)).fingerprint
    assert report["left_out"]["audio_branch.head"] == 2
    card = (clap / "README.md").read_text()
    assert report["checkpoint"]["sha256"] in card
    assert report["fingerprint"] in card
    assert str(folder) not in card

    (tmp_path / "dump.txt").write_text("a dog barks\nrain falls")
    assert run("build-datastore", "--captions", tmp_path / "dump.txt", "--output", store, "--clap", clap).code == 0
    assert run("search", store, "--text", "a dog", "--json").code == 0
    other = run("search", store, "--text", "a dog", "--clap", "pocket")
    assert_one_line(other, "fingerprint", "pocket")


def test_the_checkpoint_itself_serves_where_its_tokenizer_is(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"laion:{folder / 'random.pt'}"
    assert_one_line(run("search", tmp_path, "--text", "x", "--clap", name), "unfinished")
    store = tmp_path / "store"
    (tmp_path / "dump.txt").write_text("a dog barks\nrain falls")
    build = ("build-datastore", "--captions", tmp_path / "dump.txt", "--output", store, "--clap", name)
    assert_one_line(run(*build), "roberta-base", "convert-clap")
    monkeypatch.chdir(folder)
    assert run(*build).code == 0
    assert run("convert-clap", folder / "random.pt", "--output", tmp_path / "clap").code == 0
    assert run("search", store, "--text", "a dog", "--clap", tmp_path / "clap").code == 0  # the same CLAP


def test_from_and_to_urls(run: Run, folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/laion/random.pt", (folder / "random.pt").read_bytes())
    done = run(
        *("convert-clap", "memory://laion/random.pt", "--output", "memory://laion/clap"),
        *("--tokenizer", folder / "roberta-base"),
    )
    assert done.code == 0, done.err
    assert "left out" in done.out
    assert load_clap("memory://laion/clap").embed_audio([np.ones(4800, dtype=np.float32)]).shape == (1, 32)


def test_a_model_is_replaced_only_when_asked_for(run: Run, folder: Path, tmp_path: Path) -> None:
    convert = ("convert-clap", folder / "random.pt", "--tokenizer", folder / "roberta-base", "--output", tmp_path)
    assert run(*convert).code == 0
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert_one_line(run(*convert), "--output", "--overwrite")
    assert run(*convert, "--overwrite").code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first  # the same bytes again


def test_what_is_wrong_is_told_in_one_line_and_nothing_is_written(
    run: Run, folder: Path, tiny_clap_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clap"
    broken = tmp_path / "broken.pt"
    broken.write_bytes((folder / "random.pt").read_bytes()[:5000])
    good, tokenizer = folder / "random.pt", folder / "roberta-base"
    assert_one_line(run("convert-clap", tmp_path / "none.pt", "--output", out), "none.pt", "not a file")
    assert_one_line(run("convert-clap", folder, "--output", out), "not a file")
    assert_one_line(run("convert-clap", broken, "--output", out), "broken.pt", "torch")
    assert_one_line(run("convert-clap", good, "--output", out), "--tokenizer")
    assert_one_line(run("convert-clap", good, "--output", out, "--tokenizer", "nobody/nothing"), "--tokenizer", "hub")
    assert_one_line(run("convert-clap", good, "--output", out, "--tokenizer", tiny_clap_dir), "--tokenizer", "entries")
    (tmp_path / "file").write_text("")
    assert_one_line(
        run("convert-clap", good, "--output", tmp_path / "file" / "clap", "--tokenizer", tokenizer), "Cannot write"
    )
    assert not out.exists()


def test_other_layouts_are_told_apart(run: Run, tmp_path: Path) -> None:
    _, path, tokenizer = write_tower_checkpoint(tmp_path, "msclap2022")
    convert, clap = ("convert-clap", path, "--tokenizer", tokenizer), tmp_path / "clap"
    refused = run(*convert, "--output", clap, "--layout", "wavcaps")
    assert_one_line(refused, "one of MS-CLAP", "not of WavCaps", "--layout msclap")
    done = run(*convert, "--output", clap, "--json")
    assert done.code == 0, done.err
    assert {name: done.report["model"][name] for name in ("layout", "audio_tower", "text_tower")} == {
        "layout": "msclap",
        "audio_tower": "CNN14",
        "text_tower": "BERT",
    }
    assert done.report["left_out"] == {"caption_encoder.base.pooler": 1}
    assert "CNN14" in (clap / "README.md").read_text()
    (tmp_path / "dump.txt").write_text("a dog barks\nrain falls")
    store = tmp_path / "store"
    assert run("build-datastore", "--captions", tmp_path / "dump.txt", "--output", store, "--clap", clap).code == 0
    assert run("search", store, "--text", "a dog", "--json").code == 0
    torch.save({"model": {"audio_encoder.base.fc1.bias": torch.zeros(2)}}, tmp_path / "half.pt")
    unknown = run("convert-clap", tmp_path / "half.pt", "--output", tmp_path / "none")
    assert_one_line(unknown, "known layout", "the nearest is MS-CLAP")


def test_preprocessing_says_what_laion_does(run: Run, folder: Path, tmp_path: Path) -> None:
    run("convert-clap", folder / "random.pt", "--tokenizer", folder / "roberta-base", "--output", tmp_path)
    said = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert (said["sampling_rate"], said["hop_length"], said["frequency_min"]) == (48000, 480, 50)
    assert (said["truncation"], said["padding"], said["quantise"]) == ("rand_trunc", "repeatpad", "int16")
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 77
    assert json.loads((tmp_path / "config.json").read_text())["text_config"]["layer_norm_eps"] == 1e-5
