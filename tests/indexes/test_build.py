import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonogloss import files
from sonogloss.bridge import project
from sonogloss.errors import InputError, StoreFormatError
from sonogloss.indexes import (
    Datastore,
    Support,
    commit_datastore,
    describe,
    read_manifest,
    verify,
    write_shard,
    write_support_part,
)
from sonogloss.indexes.layout import to_json
from sonogloss.indexes.shard_writer import ShardWriter
from sonogloss.pipelines.command_line import main
from sonogloss.records import caption_id
from tests.indexes.conftest import CLAP, build, build_format1, captions, unit_rows


def test_files_open_with_plain_tools(tmp_path):
    vectors = unit_rows(7)
    store = build(tmp_path / "s", vectors, shards=2)
    table = pq.read_table(f"{store}/shards/00000/captions.parquet")
    assert table.column_names == ["id", "text", "source", "split"]
    assert table.schema.field("id").type == pa.int64()
    mapped = np.load(f"{store}/shards/00001/vectors.npy", mmap_mode="r", allow_pickle=False)
    np.testing.assert_array_equal(mapped, vectors[4:])
    assert mapped.ctypes.data % 64 == 0
    np.testing.assert_array_equal(np.load(f"{store}/support/part-00000.npy", allow_pickle=False), vectors)


def test_manifest_says_what_is_there(store_dir):
    manifest = files.read_json(f"{store_dir}/manifest.json")
    assert list(manifest)[:2] == ["format", "format_version"]
    assert manifest["format"] == "sonogloss-datastore"
    assert manifest["created_by"].startswith("sonogloss ")
    assert (manifest["count"], manifest["dim"], manifest["clap"]) == (20, 8, CLAP)
    assert manifest["index"]["kind"] == "flat"
    assert manifest["index"]["recall_at_10"] == 1.0
    assert manifest["sources"] == [{"name": "toy", "license": "CC0", "count": 20}]
    assert [s["count"] for s in manifest["shards"]] == [7, 7, 6]
    assert manifest["support"]["count"] == 20
    for shard in manifest["shards"]:
        for entry in shard["files"]:
            sample = files.sample_digest(f"{store_dir}/{entry['path']}")
            assert files.file_entry(store_dir, entry["path"]) | {"sample": sample} == entry
    assert describe(read_manifest(store_dir))["captions"] == 20


def test_equal_input_gives_equal_bytes(tmp_path):
    first = build(tmp_path / "a", unit_rows(9), shards=2)
    second = build(tmp_path / "b", unit_rows(9), shards=2)
    assert files.read_bytes(f"{first}/manifest.json") == files.read_bytes(f"{second}/manifest.json")


def test_zero_captions_are_refused_in_words(tmp_path):
    with pytest.raises(InputError, match="no captions"):
        commit_datastore(str(tmp_path), shards=[], support=[], clap=CLAP, options={})
    empty = write_shard(str(tmp_path), 0, captions([]), np.zeros((0, 8), np.float32))
    with pytest.raises(InputError, match="no captions"):
        commit_datastore(str(tmp_path), shards=[empty], support=[], clap=CLAP, options={})
    assert not (tmp_path / "manifest.json").exists()


def test_empty_shards_are_left_out(tmp_path):
    full = write_shard(str(tmp_path), 1, captions(["a", "b"]), unit_rows(2))
    empty = write_shard(str(tmp_path), 0, captions([]), np.zeros((0, 8), np.float32))
    manifest = commit_datastore(str(tmp_path), shards=[full, empty], support=[], clap=CLAP, options={})
    assert [s.number for s in manifest.shards] == [1]


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 2.0])
def test_vectors_must_be_finite_and_unit(tmp_path, value):
    vectors = unit_rows(3)
    vectors[1] = value
    with pytest.raises(InputError, match="first is row 1"):
        write_shard(str(tmp_path), 0, captions(["a", "b", "c"]), vectors)
    with pytest.raises(InputError, match="first is row 1"):
        write_support_part(str(tmp_path), 0, vectors)


def test_captions_must_fit_their_vectors(tmp_path):
    with pytest.raises(InputError, match="2 captions and 3 vectors"):
        write_shard(str(tmp_path), 0, captions(["a", "b"]), unit_rows(3))
    with pytest.raises(InputError, match="source"):
        write_shard(str(tmp_path), 0, captions(["a"]).drop_columns("source"), unit_rows(1))


def test_contradicting_entries_are_refused(tmp_path):
    entry = write_shard(str(tmp_path), 0, captions(["a"]), unit_rows(1))
    wide = write_shard(str(tmp_path), 1, captions(["b"]), unit_rows(1, dim=9))
    with pytest.raises(StoreFormatError, match="twice"):
        commit_datastore(str(tmp_path), shards=[entry, entry], support=[], clap=CLAP, options={})
    with pytest.raises(StoreFormatError, match="widths"):
        commit_datastore(str(tmp_path), shards=[entry, wide], support=[], clap=CLAP, options={})
    with pytest.raises(StoreFormatError, match="lacks"):
        commit_datastore(str(tmp_path), shards=[entry], support=[], clap={"name": "x", "dim": 8}, options={})
    (tmp_path / "shards/00000/vectors.npy").unlink()
    with pytest.raises(StoreFormatError, match="vectors"):
        commit_datastore(str(tmp_path), shards=[entry], support=[], clap=CLAP, options={})


def test_a_shard_in_pieces_is_the_shard_at_once(tmp_path):
    vectors, texts = unit_rows(9), [f"caption {n}" for n in range(9)]
    at_once = write_shard(str(tmp_path / "a"), 3, captions(texts), vectors)
    with ShardWriter(str(tmp_path / "b"), 3, rows=9, dim=8) as writer:
        for start, stop in ((0, 4), (4, 9)):
            writer.add(captions(texts[start:stop]), vectors[start:stop])
    pieces = writer.entry()
    assert [entry["path"] for entry in pieces["files"]] == [entry["path"] for entry in at_once["files"]]
    assert pieces["files"][1] == at_once["files"][1]
    assert pieces["sources"] == at_once["sources"] == {"toy": 9}
    assert pq.read_table(tmp_path / "a/shards/00003/captions.parquet").equals(
        pq.read_table(tmp_path / "b/shards/00003/captions.parquet")
    )


def test_a_shard_that_is_not_complete_leaves_no_file(tmp_path):
    with pytest.raises(InputError, match="1 of 2 captions"), ShardWriter(str(tmp_path), 0, rows=2, dim=8) as writer:
        writer.add(captions(["a"]), unit_rows(1))
    with pytest.raises(InputError, match="lack"), ShardWriter(str(tmp_path), 0, rows=2, dim=8) as writer:
        writer.add(captions(["a"]).drop_columns("text"), unit_rows(1))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_shards_are_their_own_support_and_may_be_halves(tmp_path):
    vectors, queries = unit_rows(40), unit_rows(5, seed=9)
    for dtype, digits in (("float32", 1e-7), ("float16", 1e-3)):
        store = str(tmp_path / dtype)
        entries = [
            write_shard(store, number, captions([f"{number} {n}" for n in range(20)]), part, dtype)
            for number, part in enumerate(np.split(vectors, 2))
        ]
        commit_datastore(store, shards=entries, clap=CLAP, options={}, vectors=dtype)
        assert verify(store) == []
        opened = Datastore.open(store)
        assert (opened.manifest.support.kind, opened.support.count) == ("all", 40)
        assert not (tmp_path / dtype / "support").exists()
        np.testing.assert_allclose(opened.vectors(np.arange(40)), vectors, atol=digits)
        projected = opened.project(queries, temperature=0.1, renormalise=True)
        np.testing.assert_allclose(projected, project(queries, vectors, temperature=0.1, renormalise=True), atol=digits)
        np.testing.assert_array_equal(
            Support.open(store).project(queries, temperature=0.1, renormalise=True), projected
        )
        scores = queries.astype(float) @ opened.vectors(np.arange(40)).astype(float).T
        found = [[context.score for context in contexts] for contexts in opened.search(queries, 3)]
        np.testing.assert_allclose(found, -np.sort(-scores, axis=1)[:, :3], atol=1e-6)


def test_format_1_opens_searches_projects_and_verifies(tmp_path):
    vectors, queries = unit_rows(30), unit_rows(4, seed=5)
    old = Datastore.open(build_format1(tmp_path / "old", vectors, shards=2))
    new = Datastore.open(build(tmp_path / "new", vectors, shards=2))
    assert verify(old.path) == []
    assert old.search(queries, 7) == new.search(queries, 7)
    np.testing.assert_array_equal(*(s.project(queries, temperature=0.1, renormalise=False) for s in (old, new)))
    # Results that were made with an old store know it by its manifest as it was.
    assert to_json(old.manifest) == files.read_json(f"{old.path}/manifest.json")


def test_format_1_becomes_format_2_when_it_is_compacted(tmp_path, capsys):
    texts = sorted((f"caption {n}" for n in range(30)), key=caption_id)
    vectors = unit_rows(30)
    store = build_format1(tmp_path / "old", vectors, texts=texts)
    queries = unit_rows(3, seed=5)
    before = Datastore.open(store)
    found = before.search(queries, 30)
    assert main(["compact", store]) == 0
    after = Datastore.open(store)
    assert (after.manifest.format_version, after.manifest.support.kind, verify(store)) == (2, "all", [])
    assert after.search(queries, 30) == found
    np.testing.assert_array_equal(*(s.project(queries, temperature=0.1, renormalise=True) for s in (before, after)))
    assert not (tmp_path / "old/support").exists()
