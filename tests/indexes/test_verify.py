from pathlib import Path

import pytest

from sonogloss import files
from sonogloss.indexes import verify
from tests.indexes.conftest import captions


def test_nothing_wrong(store_dir):
    assert verify(store_dir) == []


@pytest.mark.parametrize(
    "name", ["shards/00000/vectors.faiss", "shards/00002/captions.parquet", "support/part-00000.npy"]
)
def test_one_changed_byte_is_named(store_dir, name):
    path = Path(store_dir, name)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    assert verify(store_dir) == [f"{name} has another sha256 than the manifest says."]


def test_missing_and_cut_files_are_named(store_dir):
    Path(store_dir, "support/part-00000.npy").unlink()
    index = Path(store_dir, "shards/00001/vectors.faiss")
    index.write_bytes(index.read_bytes()[:-4])
    problems = verify(store_dir)
    assert len(problems) == 2
    assert problems[0].startswith("shards/00001/vectors.faiss has ")
    assert problems[1] == "support/part-00000.npy is missing."


def test_counts_are_recomputed(store_dir):
    manifest = files.read_json(f"{store_dir}/manifest.json")
    files.write_table(f"{store_dir}/shards/00000/captions.parquet", captions(["only one"]))
    manifest["shards"][0]["files"][0] = files.file_entry(store_dir, "shards/00000/captions.parquet")
    files.write_json(f"{store_dir}/manifest.json", manifest)
    assert verify(store_dir) == ["shards/00000/captions.parquet holds 1 captions instead of 7."]


def test_a_directory_without_manifest_is_unfinished(store_dir):
    Path(store_dir, "manifest.json").unlink()
    (problem,) = verify(store_dir)
    assert "unfinished" in problem
