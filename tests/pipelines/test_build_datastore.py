from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sonogloss.clap import Clap
from sonogloss.clap.transformers_clap import TransformersClap
from sonogloss.indexes import Datastore, verify
from sonogloss.transforms import embed_text, read_captions

from .conftest import CAPTIONS, Run, assert_one_line


@pytest.fixture
def dumps(tmp_path: Path) -> list[Path]:
    """Two dumps that share captions, with empty and malformed lines."""
    one, two = tmp_path / "one.txt", tmp_path / "two.jsonl.gz"
    one.write_text("\n".join([*CAPTIONS[:5], "", CAPTIONS[0].replace(" ", "   ")]))
    rows = [json.dumps({"text": text, "year": 2000 + n}) for n, text in enumerate(CAPTIONS[3:])]
    two.write_bytes(gzip.compress("\n".join([*rows, "{broken"]).encode()))
    return [one, two]


def rows(store: Path) -> list[dict[str, object]]:
    return [row for path in sorted(store.glob("shards/*/captions.parquet")) for row in pq.read_table(path).to_pylist()]


def test_dumps_become_a_datastore_that_finds_its_captions(
    run: Run, tmp_path: Path, dumps: list[Path], tiny_clap_dir: Path, tiny_clap: Clap
) -> None:
    output = tmp_path / "store"
    command = ["build-datastore", "--captions", *dumps, "--output", output, "--clap", tiny_clap_dir]
    outcome = run(*command, "--max-dead-letters", "0.2", "--license", "CC0", "--json")
    assert outcome.code == 0, outcome.err
    counts = {
        "read": 11, "empty": 1, "malformed": 1, "too_short": 0, "too_long": 0, "failed": 0, "duplicates": 3, "kept": 8,
        "broken_files": 0,
    }  # fmt: skip
    assert outcome.report["counts"] == counts
    assert verify(str(output)) == []
    store = Datastore.open(str(output))
    assert store.count == 8
    assert store.manifest.support.count == 8
    assert store.manifest.options["counts"] == counts
    assert {source.name: (source.count, source.license) for source in store.manifest.sources} == {
        "one.txt": (5, "CC0"),
        "two.jsonl.gz": (3, "CC0"),
    }
    found = store.search(tiny_clap.embed_text(CAPTIONS), 1)
    assert [contexts[0].text for contexts in found] == CAPTIONS
    # The first of two equal captions stays, with what its own dump says of it.
    years = {row["text"]: row["year"] for row in rows(output)}
    assert years[CAPTIONS[3]] is None
    assert years[CAPTIONS[7]] == 2004
    dead = pq.read_table(next((output / "dead_letters").glob("part-*.parquet"))).to_pylist()
    assert [(Path(row["uri"]).name, row["member"]) for row in dead] == [("two.jsonl.gz", "6")]


def test_unreadable_lines_above_the_share_are_an_unsound_result(
    run: Run, tmp_path: Path, dumps: list[Path], tiny_clap_dir: Path
) -> None:
    outcome = run("build-datastore", "--captions", *dumps, "--output", tmp_path / "store", "--clap", tiny_clap_dir)
    assert outcome.code == 1
    assert "1 of 12 lines" in outcome.err


def test_a_caption_whose_id_another_one_has_is_a_dead_letter(
    run: Run, tmp_path: Path, tiny_clap_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_captions, "caption_id", len)
    output = tmp_path / "store"

    def built(captions: str, *options: str) -> dict[str, int]:
        path = tmp_path / "captions.txt"
        path.write_text(captions)
        command = ["build-datastore", "--captions", path, "--output", output, "--clap", tiny_clap_dir, "--json"]
        return run(*command, "--max-dead-letters", "1", *options).report["counts"]  # type: ignore[no-any-return]

    counts = built("rain\nwind\nrain\na dog\nwind\n")
    assert {name: number for name, number in counts.items() if number} == {
        "read": 5, "duplicates": 2, "failed": 1, "kept": 2,
    }  # fmt: skip
    assert [row["text"] for row in rows(output)] == ["rain", "a dog"]
    (letter,) = pq.read_table(output / "dead_letters").to_pylist()
    assert (letter["member"], letter["code"]) == ("wind", "DUPLICATE_KEY")
    counts = built("rain\nhail\na cat, too\n", "--append")
    assert (counts["duplicates"], counts["failed"], counts["kept"]) == (1, 1, 1)
    assert [row["text"] for row in rows(output)] == ["rain", "a dog", "a cat, too"]
    assert verify(str(output)) == []


def test_a_dump_of_duplicates_alone_is_one_caption(run: Run, tmp_path: Path, tiny_clap_dir: Path) -> None:
    (tmp_path / "a.txt").write_text("rain\n" * 3000)
    command = ["build-datastore", "--captions", tmp_path / "a.txt", "--output", tmp_path / "store"]
    outcome = run(*command, "--clap", tiny_clap_dir, "--json")
    assert (outcome.code, outcome.report["counts"]["duplicates"], outcome.report["counts"]["kept"]) == (0, 2999, 1)


def test_ids_and_rows_depend_neither_on_the_order_of_files_nor_on_shards(
    run: Run, tmp_path: Path, dumps: list[Path], tiny_clap_dir: Path
) -> None:
    common = ["--clap", tiny_clap_dir, "--max-dead-letters", "1", "--json", "--captions"]
    for name, options in (("a", dumps), ("b", dumps[::-1]), ("c", [*dumps, "--shards", "4"])):
        assert run("build-datastore", "--output", tmp_path / name, *common, *options).code == 0
    first, second, sharded = (rows(tmp_path / name) for name in "abc")
    assert first == second == sharded
    assert [row["id"] for row in first] == sorted(row["id"] for row in first)  # type: ignore[type-var]
    for path in sorted((tmp_path / "a").rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    assert len(list((tmp_path / "c").glob("shards/*"))) > 1


def test_the_same_command_again_does_nothing_and_another_needs_to_say_so(
    run: Run, tmp_path: Path, dumps: list[Path], tiny_clap_dir: Path
) -> None:
    command = ["build-datastore", "--captions", dumps[0], "--output", tmp_path / "store", "--clap", tiny_clap_dir]
    assert run(*command, "--json").code == 0
    before = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    again = run(*command)
    assert again.code == 0
    assert "nothing to do" in again.out
    assert "Next: sonogloss search" in again.out
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == before
    other = [*command, "--source", "elsewhere"]
    assert_one_line(run(*other), "--output", "--overwrite")
    assert run(*other, "--overwrite", "--json").report["sources"] == {"elsewhere": {"count": 5, "license": None}}


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("missing.txt", None, [], ["--captions", "does not exist"]),
        ("*.jsonl", None, [], ["--captions", "matches no file"]),
        ("a.docx", b"x", [], ["--captions", "a.docx"]),
        ("a.csv", b"caption,n\nx,1\n", [], ["--text-column", "caption, n"]),
        ("a.parquet", b"none", [], ["a.parquet"]),
        ("a.txt", b"\n\n", [], ["no captions"]),
        ("a.txt", b"", [], ["no captions"]),
        ("a.txt", b"x\n", ["--clap", "nowhere"], ["nowhere"]),
        ("a.txt", b"x\n", ["--max-dead-letters", "5"], ["--max-dead-letters"]),
        ("a.txt", b"x\n", ["--device", "cuda:9"], ["--device"]),
    ],
)
def test_an_impossible_job_is_told_in_one_line(
    run: Run,
    tmp_path: Path,
    tiny_clap_dir: Path,
    name: str,
    content: bytes | None,
    options: list[str],
    words: list[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    outcome = run(
        "build-datastore", "--captions", tmp_path / name, "--output", tmp_path / "o", "--clap", tiny_clap_dir, *options
    )
    assert_one_line(outcome, *words)
    assert not (tmp_path / "o" / "manifest.json").exists()


def test_an_output_that_cannot_be_written(run: Run, tmp_path: Path, tiny_clap_dir: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    output = tmp_path / "a.txt" / "below"
    outcome = run("build-datastore", "--captions", tmp_path / "a.txt", "--output", output, "--clap", tiny_clap_dir)
    assert_one_line(outcome, "cannot be made")


def big_dump(tmp_path: Path) -> Path:
    (tmp_path / "many.txt").write_text("\n".join(f"sound {number} and then {number % 7}" for number in range(300)))
    return tmp_path / "many.txt"


def digests(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_a_build_that_was_ended_goes_on_and_equals_an_undisturbed_one(
    run: Run, tmp_path: Path, tiny_clap_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_text, "CAPTIONS_A_UNIT", 30)
    embedded: list[int] = []
    real = TransformersClap.embed_text_batches

    def counted(self: TransformersClap, texts: list[str], **options: Any) -> Any:
        if len(embedded) == 4 and "stop" in os.environ:
            raise OSError("the machine goes down")
        embedded.append(len(texts))
        return real(self, texts, **options)

    command = ["build-datastore", "--captions", big_dump(tmp_path), "--clap", tiny_clap_dir, "--json", "--output"]
    assert run(*command, tmp_path / "whole").code == 0
    monkeypatch.setattr(TransformersClap, "embed_text_batches", counted)
    monkeypatch.setenv("stop", "")
    with pytest.raises(Exception, match="goes down"):
        run(*command, tmp_path / "ended")
    assert verify(str(tmp_path / "ended"))
    assert len(list((tmp_path / "ended/units").glob("*.npy"))) == 4
    monkeypatch.delenv("stop")
    outcome = run(*command, tmp_path / "ended")
    assert outcome.code == 0, outcome.err
    assert outcome.report["kept_units"] == 4
    assert sum(embedded) == 300  # nothing twice
    assert digests(tmp_path / "ended") == digests(tmp_path / "whole")
    (tmp_path / "ended/.sonogloss-build.json").write_text("{}")  # as a kill right behind the manifest leaves it
    (tmp_path / "ended/units").mkdir()
    assert run(*command, tmp_path / "ended").report["done_before"]
    assert digests(tmp_path / "ended") == digests(tmp_path / "whole")
    assert verify(str(tmp_path / "ended")) == []


def test_shards_of_an_earlier_build_go_and_files_of_others_stay(run: Run, tmp_path: Path, tiny_clap_dir: Path) -> None:
    output, dump = tmp_path / "store", big_dump(tmp_path)
    command = ["build-datastore", "--captions", dump, "--clap", tiny_clap_dir, "--output", output, "--overwrite"]
    assert run(*command, "--shards", "3").code == 0
    assert run(*command, "--shards", "1", "--vectors", "float16").code == 0
    assert sorted(digests(output)) == ["manifest.json", "shards/00000/captions.parquet", "shards/00000/vectors.npy"]
    assert verify(str(output)) == []
    assert Datastore.open(str(output)).manifest.vectors == "float16"
    (output / "shards/00000/mine.txt").write_text("mine")
    assert_one_line(run(*command), "not ours", "shards/00000/mine.txt")


def test_an_index_that_finds_too_little_is_an_unsound_result(
    run: Run, tmp_path: Path, tiny_clap_dir: Path, tiny_clap: Clap, recordings: Path
) -> None:
    dump = tmp_path / "many.txt"
    dump.write_text("\n".join(f"sound {number} and then {number % 7}" for number in range(1200)))
    command = ["build-datastore", "--captions", dump, "--clap", tiny_clap_dir, "--json", "--shards", "2", "--output"]
    asked = [*command, tmp_path / "good", "--index", "ivf-flat", "--recall", ".9", "--support", "kmeans:50"]
    good = run(*asked)
    assert good.code == 0, good.err
    manifest = Datastore.open(str(tmp_path / "good")).manifest
    assert (manifest.index.kind, manifest.support.count) == ("ivf-flat", 50)
    assert set(manifest.options["measured"]["queries_per_s"]) == {"1", "32"}
    assert verify(str(tmp_path / "good")) == []
    assert run(*asked).report["done_before"]
    poor = run(*command, tmp_path / "poor", "--index", "PQ1x2", "--recall", "1")
    assert poor.code == 1
    assert "1 was asked for" in poor.err
    auto = ["--index", "auto", "--recall", ".99", "--index-memory"]
    for name, memory, code in (("reached", 1e-4, 0), ("missed", 0, 1)):
        chosen = run(*command, tmp_path / name, *auto, memory)
        index = Datastore.open(str(tmp_path / name)).manifest.index
        assert (chosen.code, index.kind != "flat", index.recall_at_10 >= 0.99) == (code, True, not code), index
    far = tmp_path / "far.npy"
    np.save(far, np.eye(tiny_clap.dim, dtype=np.float32))
    heard = [*command, tmp_path / "heard", "--index", "ivf-flat", "--recall-audio", far, recordings]
    outcome = run(*heard)
    index = Datastore.open(str(tmp_path / "heard")).manifest.index
    assert (outcome.code, index.audio_recall_at_10 >= 0.95) == (0, True), outcome.err
    assert "1 of 10 recordings of --recall-audio" in outcome.err
    assert index.measured_on.endswith(f"and {tiny_clap.dim + 9} audio embeddings")
    assert run(*heard).report["done_before"]
    assert run("compact", tmp_path / "heard").code == 0
    assert Datastore.open(str(tmp_path / "heard")).manifest.index.queries == index.queries
    deaf = run(*command, tmp_path / "deaf", "--index", "PQ1x2", "--recall", "1", "--recall-audio", far)
    assert deaf.code == 1
    assert "nearest captions of the recordings, and 1 was asked for" in deaf.err
    assert_one_line(run(*command, tmp_path / "none", "--index", "banana"), "banana", "auto, flat")
    assert_one_line(run(*command, tmp_path / "none", "--recall-audio", dump), "No recording of --recall-audio")
    np.save(far, np.full((1, tiny_clap.dim), np.nan))
    assert_one_line(run(*command, tmp_path / "none", "--recall-audio", far), "far.npy", "NaN")
    assert_one_line(run(*heard, "--append"), "--append", "--recall-audio")
    assert_one_line(run(*command, tmp_path / "none", "--support", "kmeans"), "--support", "kmeans:1000")


def test_search_finds_the_caption_itself(run: Run, store: Path) -> None:
    found = run("search", store, "--text", "a dog barks twice", "-k", "2", "--json")
    assert found.code == 0, found.err
    contexts = found.report["queries"][0]["contexts"]
    assert contexts[0]["text"] == "a dog barks twice"
    assert len(contexts) == 2
