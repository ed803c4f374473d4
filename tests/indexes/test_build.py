import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonogloss import files
from sonogloss.errors import InputError, StoreFormatError
from sonogloss.indexes import commit_datastore, describe, read_manifest, write_shard, write_support_part
from tests.indexes.conftest import CLAP, build, captions, unit_rows


def test_files_open_with_plain_tools(tmp_path):
    vectors = unit_rows(7)
    store = build(tmp_path / "s", vectors, shards=2)
    table = pq.read_table(f"{store}/shards/00000/captions.parquet")
    assert table.column_names == ["id", "text", "source", "split"]
    assert table.schema.field("id").type == pa.int64()
    index = faiss.read_index(f"{store}/shards/00001/vectors.faiss")
    np.testing.assert_array_equal(index.reconstruct_n(0, 3), vectors[4:])
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
            assert files.file_entry(store_dir, entry["path"]) == entry
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
    (tmp_path / "shards/00000/vectors.faiss").unlink()
    with pytest.raises(StoreFormatError, match="vectors"):
        commit_datastore(str(tmp_path), shards=[entry], support=[], clap=CLAP, options={})
