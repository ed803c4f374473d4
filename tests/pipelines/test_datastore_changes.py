"""Datastores that grow, lose a source, or are written again in few shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sonogloss.clap.transformers_clap import TransformersClap
from sonogloss.indexes import Datastore, verify
from sonogloss.pipelines.running.lease import lease
from tests.indexes.conftest import edit_manifest

from .conftest import CAPTIONS, Run, assert_one_line


def rows(store: Path) -> list[dict[str, Any]]:
    shards = Datastore.open(str(store)).manifest.shards
    return [row for shard in shards for row in pq.read_table(store / shard.files[0].path).to_pylist()]


def contents(store: Path) -> dict[int, tuple[str, str, bytes]]:
    """Captions by id, with text, source and vector."""
    opened = Datastore.open(str(store))
    found = opened.vectors(np.arange(opened.count))
    return {row["id"]: (row["text"], row["source"], found[n].tobytes()) for n, row in enumerate(rows(store))}


@pytest.fixture
def grown(run: Run, tmp_path: Path, tiny_clap_dir: Path) -> tuple[Path, list[object]]:
    """A store of `one`, to which `two` was added, and the command that added it; they share captions."""
    (tmp_path / "one.txt").write_text("\n".join(CAPTIONS[:5]))
    two = [{"text": text, "year": 2000 + n} for n, text in enumerate(CAPTIONS[3:])]
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, two)))
    common = ["build-datastore", "--output", tmp_path / "store", "--clap", tiny_clap_dir, "--json", "--captions"]
    assert run(*common, tmp_path / "one.txt", "--license", "CC0").code == 0
    append = [*common, tmp_path / "two.jsonl", "--append"]
    outcome = run(*append)
    assert outcome.code == 0, outcome.err
    assert (outcome.report["counts"]["read"], outcome.report["counts"]["kept"]) == (5, 3)
    return tmp_path / "store", append


def test_what_is_new_is_added_and_nothing_else(
    run: Run, tmp_path: Path, tiny_clap_dir: Path, grown: tuple[Path, list[object]]
) -> None:
    store, append = grown
    whole = ["build-datastore", "--output", tmp_path / "whole", "--clap", tiny_clap_dir, "--captions"]
    assert run(*whole, tmp_path / "one.txt", tmp_path / "two.jsonl").code == 0
    assert {key: value[:2] for key, value in contents(store).items()} == {
        key: value[:2] for key, value in contents(tmp_path / "whole").items()
    }
    assert verify(str(store)) == []
    opened = Datastore.open(str(store))
    assert (opened.count, opened.support.count, len(opened.manifest.shards)) == (8, 8, 2)
    assert opened.manifest.options["counts"]["kept"] == 8
    assert {s.name: (s.count, s.license) for s in opened.manifest.sources} == {
        "one.txt": (5, "CC0"),
        "two.jsonl": (3, None),
    }
    before = (store / "manifest.json").read_bytes()
    assert run(*append).report["done_before"]
    assert (store / "manifest.json").read_bytes() == before


def test_readers_of_the_old_manifest_stay_valid(
    run: Run, tmp_path: Path, tiny_clap_dir: Path, grown: tuple[Path, list[object]]
) -> None:
    store, _ = grown
    reader, old = Datastore.open(str(store)), (store / "manifest.json").read_bytes()
    (tmp_path / "three.txt").write_text("a new sound")
    append = ["build-datastore", "--output", store, "--clap", tiny_clap_dir, "--append", "--captions"]
    assert run(*append, tmp_path / "three.txt").code == 0
    assert Datastore.open(str(store)).count == 9
    assert len(reader.search(np.eye(reader.dim, dtype=np.float32)[:1], 9)[0]) == 8
    (tmp_path / "snapshot").mkdir()
    shutil.copytree(store, tmp_path / "snapshot", dirs_exist_ok=True)
    (tmp_path / "snapshot/manifest.json").write_bytes(old)
    assert Datastore.open(str(tmp_path / "snapshot"), check="full").count == 8


def test_an_addition_that_is_ended_leaves_the_store_as_it_was(
    run: Run, tmp_path: Path, tiny_clap_dir: Path, grown: tuple[Path, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = grown
    before = contents(store)
    (tmp_path / "three.txt").write_text("a new sound")
    append = ["build-datastore", "--output", store, "--clap", tiny_clap_dir, "--append", "--captions"]

    def broken(self: TransformersClap, texts: list[str], **options: Any) -> Any:
        raise OSError("the machine goes down")

    with monkeypatch.context() as patch:
        patch.setattr(TransformersClap, "embed_text_batches", broken)
        with pytest.raises(Exception, match="goes down"):
            run(*append, tmp_path / "three.txt")
    assert contents(store) == before
    assert run(*append, tmp_path / "three.txt").code == 0
    assert len(contents(store)) == 9
    assert verify(str(store)) == []


def test_compact_writes_the_same_captions_in_one_shard_in_order_of_id(
    run: Run, grown: tuple[Path, list[object]]
) -> None:
    store, _ = grown
    before = contents(store)
    report = run("compact", store, "--json").report
    assert (report["captions"], report["removed"], report["shards"]) == (8, 0, 1)
    assert contents(store) == before
    found = rows(store)
    assert [row["id"] for row in found] == sorted(before)
    assert {row["text"]: row["year"] for row in found}[CAPTIONS[7]] == 2004
    assert verify(str(store)) == []
    assert sorted(path.name for path in (store / "shards").iterdir()) == ["00002"]
    assert run("compact", store, "--shards", "3", "--json").report["shards"] > 1
    assert contents(store) == before


def test_a_source_goes_with_its_captions(run: Run, grown: tuple[Path, list[object]]) -> None:
    store, _ = grown
    before = contents(store)
    assert_one_line(run("compact", store, "--remove-source", "three"), "three", "one.txt, two.jsonl")
    assert_one_line(run("compact", store, "--remove-source", "one.txt", "two.jsonl"), "nothing would be left")
    assert contents(store) == before
    report = run("compact", store, "--remove-source", "one.txt", "--json").report
    assert (report["captions"], report["removed"]) == (3, 5)
    assert contents(store) == {key: value for key, value in before.items() if value[1] == "two.jsonl"}
    manifest = Datastore.open(str(store)).manifest
    assert manifest.options["removed"] == ["one.txt"]
    assert manifest.support.count == 3
    assert verify(str(store)) == []


def test_a_sample_as_support_loses_the_source_too(
    run: Run, tmp_path: Path, tiny_clap_dir: Path, grown: tuple[Path, list[object]]
) -> None:
    build = ["build-datastore", "--output", tmp_path / "sampled", "--clap", tiny_clap_dir, "--support", "sample:6"]
    assert run(*build, "--captions", tmp_path / "one.txt", tmp_path / "two.jsonl").code == 0
    assert run("compact", tmp_path / "sampled", "--remove-source", "one.txt").code == 0
    opened = Datastore.open(str(tmp_path / "sampled"))
    kept = {row.tobytes() for row in opened.vectors(np.arange(3))}
    assert {row.tobytes() for part in opened.support.parts for row in np.asarray(part)} == kept
    assert verify(str(tmp_path / "sampled")) == []


def test_a_second_builder_is_refused(run: Run, grown: tuple[Path, list[object]], tmp_path: Path) -> None:
    store, append = grown
    (tmp_path / "two.jsonl").write_text(json.dumps({"text": "another"}))
    with lease(str(store), "build-datastore"):
        assert_one_line(run(*append), "is being written by `sonogloss build-datastore`")
        assert_one_line(run("compact", store), "is being written by `sonogloss build-datastore`")


def test_what_cannot_grow_says_why(run: Run, tmp_path: Path, grown: tuple[Path, list[object]]) -> None:
    _, append = grown
    elsewhere = [tmp_path / "nothing" if word == tmp_path / "store" else word for word in append]
    assert_one_line(run(*elsewhere), "--append", "no finished datastore")
    other = ["pocket" if isinstance(word, Path) and (word / "config.json").exists() else word for word in append]
    assert_one_line(run(*other), "--append", "another one")


def test_an_edited_config_of_the_clap_is_refused_and_old_stores_know_it_by_its_fingerprint(
    run: Run, tmp_path: Path, tiny_clap_dir: Path
) -> None:
    clap, store = tmp_path / "clap", tmp_path / "store"
    shutil.copytree(tiny_clap_dir, clap)
    (tmp_path / "one.txt").write_text("\n".join(CAPTIONS))
    assert run("build-datastore", "--captions", tmp_path / "one.txt", "--clap", clap, "--output", store).code == 0
    content = json.loads((clap / "config.json").read_text())
    (clap / "config.json").write_text(json.dumps(content | {"transformers_version": "4.0.0"}, indent=7))
    assert run("search", store, "--text", "a dog").code == 0
    content["text_config"]["layer_norm_eps"] = 0.5
    (clap / "config.json").write_text(json.dumps(content))
    assert_one_line(run("search", store, "--text", "a dog"), "config.json says another network")
    manifest = json.loads((store / "manifest.json").read_text())
    del manifest["clap"]["config"]  # as earlier releases wrote it
    edit_manifest(str(store), clap=manifest["clap"])
    assert run("search", store, "--text", "a dog").code == 0


def test_caption_refuses_a_damaged_store_and_says_what_it_checked(
    run: Run, tmp_path: Path, store: Path, captioner: Path, recordings: Path
) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    command = ["caption", "--audio", recordings / "0.wav", "--captioner", captioner, "--datastore", copy]
    outcome = run(*command, "--output", tmp_path / "out", "--json", "--check", "full")
    assert (outcome.code, outcome.report["datastore_checked"]) == (0, "every byte")
    path = next(copy.glob("shards/*/vectors.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for check in ("full", "sample"):
        assert_one_line(run(*command, "--output", tmp_path / check, "--check", check), "vectors.npy", "digest differs")


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_all_commands_that_read_a_store_check_it_as_far_as_they_are_asked(
    run: Run, tmp_path: Path, tiny_clap_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonogloss.files._SLICES", 2)
    monkeypatch.setattr("sonogloss.files._SLICE", 64)  # bytes: of these small files too a sample leaves some out
    store, more = tmp_path / "store", tmp_path / "more.txt"
    (tmp_path / "one.txt").write_text("\n".join(CAPTIONS))
    more.write_text("a new sound")
    build = ["build-datastore", "--clap", tiny_clap_dir, "--output", store, "--captions"]
    assert run(*build, tmp_path / "one.txt").code == 0
    flip(next(store.glob("shards/*/vectors.npy")), 500)
    train = ["train-captioner", "--captions", more, "--clap", tiny_clap_dir, "--datastore", store]
    commands = {
        "search": ["search", store, "--text", "rain"],
        "train": [*train, "--method", "drcap", "--output", tmp_path / "captioner"],
        "append": [*build, more, "--append"],
    }
    for name, command in commands.items():
        assert_one_line(run(*command, "--check", "full"), "vectors.npy", "digest differs")
        if name != "train":  # takes long
            assert run(*command).code == 0, name
    assert_one_line(run("compact", store), "vectors.npy", "digest differs")
    assert run("verify", store).code == 1


def test_a_damaged_captioner_or_clap_is_refused(
    run: Run, tmp_path: Path, store: Path, captioner: Path, recordings: Path, tiny_clap_dir: Path
) -> None:
    shutil.copytree(captioner, tmp_path / "captioner")
    shutil.copytree(tiny_clap_dir, tmp_path / "clap")
    command = ["caption", "--audio", recordings / "0.wav", "--datastore", store]
    for part in ("mapper.safetensors", "language_model/model.safetensors"):
        flip(tmp_path / "captioner" / part)
        assert_one_line(run(*command, "--captioner", tmp_path / "captioner"), part, "another content")
        flip(tmp_path / "captioner" / part)
    for part in ("model.safetensors", "tokenizer.json"):
        flip(tmp_path / "clap" / part, 3000)
        outcome = run(*command, "--captioner", captioner, "--clap", tmp_path / "clap")
        assert outcome.code == 2, part
        flip(tmp_path / "clap" / part, 3000)
