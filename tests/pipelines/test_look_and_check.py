from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sonogloss.pipelines.run_demo import demo, show

from .conftest import Run, assert_one_line


def test_search_by_text_and_by_sound(run: Run, store: Path, recordings: Path) -> None:
    found = run("search", store, "--text", "a cat meows", "-k", "2")
    assert found.code == 0, found.err
    assert "a cat meows" in found.out
    heard = run("search", store, "--audio", recordings / "3.wav", "-k", "1", "--json").report
    assert len(heard["queries"]) == 3
    assert all(len(query["contexts"]) == 1 for query in heard["queries"])


def test_search_by_caption_by_column_and_in_several_datastores(run: Run, store: Path, tmp_path: Path) -> None:
    first = run("search", store, "--text", "a cat meows", "-k", "3", "--json").report["queries"][0]["contexts"]
    near = run("search", store, "--id", first[0]["id"], "-k", "2", "--json").report["queries"]
    assert near[0]["query"] == first[0]["text"]
    assert len(near[0]["contexts"]) == 2
    assert first[0]["id"] not in [context["id"] for context in near[0]["contexts"]]
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    both = run("search", store, copy, "--text", "a cat meows", "-k", "3", "--search", "partitioned", "--json").report
    assert both["queries"][0]["contexts"] == first  # every caption is in both
    assert both["datastore"] == [str(store), str(copy)]
    source = first[0]["source"]
    for where, count in ((f"source={source}", 3), ("source=nowhere", 0)):
        found = run("search", store, "--text", "a cat meows", "-k", "3", "--where", where, "--json").report
        assert len(found["queries"][0]["contexts"]) == count


def test_search_compares_every_byte_where_it_is_asked_to(run: Run, store: Path, tmp_path: Path) -> None:
    asked = ["search", tmp_path / "copy", "--text", "a cat meows", "--json"]
    shutil.copytree(store, tmp_path / "copy")
    assert run(*asked, "--check", "full").report == run(*asked).report
    captions = tmp_path / "copy/shards/00000/captions.parquet"
    flipped = bytearray(captions.read_bytes())
    flipped[-1] ^= 1
    captions.write_bytes(flipped)
    assert_one_line(run(*asked, "--check", "full"), "captions.parquet", "sonogloss verify")


def test_search_says_what_is_wrong(run: Run, store: Path, recordings: Path, tmp_path: Path) -> None:
    assert_one_line(run("search", tmp_path, "--text", "x"), "unfinished")
    assert_one_line(run("search", store, "--text", " "), "--text")
    assert_one_line(run("search", store, "--audio", tmp_path / "none.wav"), "--audio")
    assert_one_line(run("search", store, "--audio", recordings / "9.wav"), "--audio", "9.wav")
    assert_one_line(run("search", store, "--text", "x", "-k", "0"), "-k")
    assert_one_line(run("search", store, "--text", "x", "--id", "3"), "--id")
    assert_one_line(run("search", store, "--id", "3"), "no caption with the id 3")
    assert_one_line(run("search", store, "--text", "x", "--where", "source"), "COLUMN=VALUE")
    assert_one_line(run("search", store, "--text", "x", "--where", "banana=1"), "no column 'banana'")


def test_directories_are_recognised_and_whole(run: Run, store: Path, captioner: Path) -> None:
    for directory, kind in ((store, "sonogloss-datastore"), (captioner, "sonogloss-captioner")):
        assert run("verify", directory, "--json").report == {"directory": str(directory), "kind": kind, "problems": []}
        assert run("inspect", directory, "--json").report["kind"] == kind
        assert kind in run("inspect", directory).out


@pytest.mark.parametrize("name", ["mapper.safetensors", "language_model/model.safetensors"])
def test_a_changed_captioner_is_named(run: Run, captioner: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(captioner, copy)
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    outcome = run("verify", copy)
    assert outcome.code == 1
    assert name in outcome.err


def test_a_changed_datastore_is_named(run: Run, store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    (copy / "shards/00000/captions.parquet").write_bytes(b"")
    outcome = run("verify", copy)
    assert outcome.code == 1
    assert "captions.parquet" in outcome.err


def test_what_is_none_of_ours_is_told_in_one_line(run: Run, tmp_path: Path) -> None:
    for command in ("verify", "inspect"):
        assert_one_line(run(command, tmp_path / "none"), "does not exist")
        assert_one_line(run(command, tmp_path), "run.json")
    (tmp_path / "run.json").write_text(json.dumps({"format": "sonogloss-results", "format_version": 7}))
    assert_one_line(run("inspect", tmp_path), "7")
    (tmp_path / "run.json").write_text("{")
    assert_one_line(run("inspect", tmp_path), "not valid JSON")


def test_the_demo_walks_the_whole_way(
    tmp_path: Path, tiny_clap_dir: Path, captioner: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = demo(output=str(tmp_path), clap=str(tiny_clap_dir), captioner=str(captioner), scenes=2, captions=40)
    assert report["problems"] == []
    assert len(report["rows"]) == 2
    assert report["rows"][0]["events"]
    assert {row["metric"] for row in report["corpus"]} > {"cider_d", "clap_sim"}
    for name in ("captions.txt", "references.jsonl", "datastore/manifest.json", "results/run.json"):
        assert (tmp_path / name).exists()
    assert len(list((tmp_path / "audio").glob("*.wav"))) == 2
    show(report)
    assert "sonogloss caption --audio" in capsys.readouterr().out
