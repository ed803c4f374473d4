import json
from pathlib import Path

import numpy as np
import pytest

from sonogloss import files
from sonogloss.errors import StoreFormatError
from sonogloss.indexes import Datastore, verify
from tests.indexes.conftest import build, build_format1, captions, edit_manifest, unit_rows


def test_nothing_wrong(store_dir):
    assert verify(store_dir) == []


@pytest.mark.parametrize(
    "name", ["shards/00000/vectors.npy", "shards/00002/captions.parquet", "support/part-00000.npy"]
)
def test_one_changed_byte_is_named(store_dir, name):
    path = Path(store_dir, name)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    assert verify(store_dir) == [f"{name} has another sha256 than the manifest says."]


def test_missing_and_cut_files_are_named(store_dir):
    Path(store_dir, "support/part-00000.npy").unlink()
    index = Path(store_dir, "shards/00001/vectors.npy")
    index.write_bytes(index.read_bytes()[:-4])
    problems = verify(store_dir)
    assert len(problems) == 2
    assert problems[0].startswith("shards/00001/vectors.npy has ")
    assert problems[1] == "support/part-00000.npy is missing."


def test_counts_are_recomputed(store_dir):
    manifest = files.read_json(f"{store_dir}/manifest.json")
    files.write_table(f"{store_dir}/shards/00000/captions.parquet", captions(["only one"]))
    manifest["shards"][0]["files"][0] = files.file_entry(store_dir, "shards/00000/captions.parquet")
    edit_manifest(store_dir, shards=manifest["shards"])
    assert verify(store_dir) == ["shards/00000/captions.parquet holds 1 captions instead of 7."]


def test_a_directory_without_manifest_is_unfinished(store_dir):
    Path(store_dir, "manifest.json").unlink()
    (problem,) = verify(store_dir)
    assert "unfinished" in problem


def test_files_that_the_manifest_does_not_list_are_named(store_dir):
    Path(store_dir, "shards/00007").mkdir()
    Path(store_dir, "shards/00007/vectors.npy").write_bytes(b"of a build with more shards")
    Path(store_dir, "shards/00000/notes.txt").write_text("mine")
    assert verify(store_dir) == [
        "shards/00000/notes.txt is not in the manifest: it is foreign.",
        "shards/00007/vectors.npy is not in the manifest: it was left by another build.",
    ]


@pytest.mark.parametrize("value", [np.nan, 0.5])
@pytest.mark.parametrize("name", ["shards/00001/vectors.npy", "support/part-00000.npy"])
def test_vectors_that_are_not_unit_are_named_though_their_digest_is_right(store_dir, name, value):
    vectors = np.load(f"{store_dir}/{name}")
    vectors[2] = value
    np.save(f"{store_dir}/{name}", vectors)
    manifest = files.read_json(f"{store_dir}/manifest.json")
    for entry in (manifest["shards"][1]["files"][1], manifest["support"]["parts"][0]["file"]):
        if entry["path"] == name:
            entry |= files.file_entry(store_dir, name)
    edit_manifest(store_dir, shards=manifest["shards"], support=manifest["support"])
    (problem,) = verify(store_dir)
    assert problem.startswith(f"{name} holds a vector that is not of unit length: row 2")


def test_an_id_that_occurs_twice_in_a_shard_is_named(tmp_path):
    store = build(tmp_path, unit_rows(3), ids=[5, 6, 5])
    assert verify(store) == ["shards/00000/captions.parquet holds 1 ids twice."]


@pytest.mark.parametrize("flips", [8, pytest.param(34, marks=pytest.mark.slow)])
def test_every_flip_is_found_and_none_in_the_manifest_is_used(tmp_path, flips):
    random = np.random.default_rng(7)
    store = build(tmp_path, unit_rows(40), shards=2)
    paths = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(paths) == 6
    for path in paths:
        intact = path.read_bytes()
        for position in random.integers(0, len(intact), size=flips):
            damaged = bytearray(intact)
            damaged[position] ^= 1 << random.integers(8)
            path.write_bytes(damaged)
            assert verify(store), (path, position)
            if path.name != "manifest.json" or json_differs(intact, bytes(damaged)):
                with pytest.raises(StoreFormatError):
                    Datastore.open(store, check="full")
        path.write_bytes(intact)
    assert verify(store) == []


def json_differs(one: bytes, other: bytes) -> bool:
    """A blank that became another kind of white space changes nothing that is read."""
    try:
        return json.loads(one) != json.loads(other)
    except ValueError:
        return True


def test_flips_of_format_1_are_found_by_their_digests(tmp_path):
    store = build_format1(tmp_path, unit_rows(20), shards=2)
    assert verify(store) == []
    path = tmp_path / "shards/00001/vectors.faiss"
    content = bytearray(path.read_bytes())
    content[100] ^= 4
    path.write_bytes(content)
    assert verify(store) == ["shards/00001/vectors.faiss has another sha256 than the manifest says."]
