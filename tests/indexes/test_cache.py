"""Copies of remote datastores: made once, continued where they stopped, and checked on the way."""

import os
from pathlib import Path

import fsspec
import pytest

from sonogloss import files
from sonogloss.errors import StoreFormatError
from sonogloss.indexes import Datastore, read_manifest
from sonogloss.indexes.cache import default_cache, localise
from tests.indexes.conftest import build, edit_manifest, unit_rows


@pytest.fixture
def remote(store_dir):
    """The store in memory, as if it lay in a bucket."""
    memory = fsspec.filesystem("memory")
    memory.put(store_dir, "/bucket/store", recursive=True)
    yield "memory://bucket/store"
    memory.rm("/bucket", recursive=True)


def listed(path):
    manifest = read_manifest(path)
    return manifest, manifest.files()


def test_a_local_store_is_its_own_copy(store_dir, tmp_path):
    manifest, entries = listed(store_dir)
    assert localise(store_dir, manifest, entries, str(tmp_path / "cache")) == store_dir
    assert localise(f"file://{store_dir}", manifest, entries, None) == store_dir
    assert not (tmp_path / "cache").exists()


def test_a_copy_goes_on_where_it_stopped(remote, tmp_path):
    manifest, entries = listed(remote)
    cache = str(tmp_path / "cache")
    local = Path(localise(remote, manifest, entries[:1], cache))
    assert [str(path.relative_to(local)) for path in local.rglob("*") if path.is_file()] == [entries[0].path]
    stamp = (local / entries[0].path).stat().st_mtime_ns
    (local / entries[1].path).parent.mkdir(parents=True, exist_ok=True)
    (local / entries[1].path).write_bytes(b"half")  # of a machine that went down without a rename
    assert localise(remote, manifest, entries, cache) == str(local)
    assert (local / entries[0].path).stat().st_mtime_ns == stamp
    for entry in entries:
        assert files.digest(str(local / entry.path)) == entry.sha256


def test_stores_of_one_name_and_other_content_have_copies_of_their_own(remote, tmp_path):
    manifest, entries = listed(remote)
    first = localise(remote, manifest, entries, str(tmp_path))
    edit_manifest(remote, options={"captions": ["y"]})
    second = localise(remote, *listed(remote), str(tmp_path))
    assert first != second


def test_bytes_that_changed_on_the_way_are_refused_and_not_kept(remote, tmp_path):
    manifest, entries = listed(remote)
    memory = fsspec.filesystem("memory")
    broken = f"/bucket/store/{entries[0].path}"
    memory.pipe(broken, b"x" * memory.size(broken))
    for _ in range(2):
        with pytest.raises(StoreFormatError, match="sha256"):
            localise(remote, manifest, entries[:1], str(tmp_path / "cache"))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_file_that_is_missing_is_named(where, store_dir, remote, tmp_path):
    manifest, entries = listed(store_dir)
    if where == "local":
        os.remove(f"{store_dir}/{entries[0].path}")
    else:
        fsspec.filesystem("memory").rm(f"/bucket/store/{entries[0].path}")
    with pytest.raises(StoreFormatError, match=f"{entries[0].path}.* is missing"):
        localise(store_dir if where == "local" else remote, manifest, entries, str(tmp_path))


def test_the_cache_lies_where_the_system_says(monkeypatch, remote, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == str(tmp_path / "xdg" / "sonogloss")
    Datastore.open(remote)
    assert list((tmp_path / "xdg" / "sonogloss").iterdir())
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == os.path.expanduser("~/.cache/sonogloss")


def test_a_sample_is_compared_before_use_and_everything_on_request(tmp_path):
    rows = unit_rows(60_000)  # 1.9 MB of vectors: the sample leaves gaps
    store = build(tmp_path / "store", rows, support=[unit_rows(0)])
    path = Path(store, "shards/00000/vectors.npy")
    intact = path.read_bytes()
    gap = (len(intact) - (1 << 16)) // 15 * 3 - 100  # just before the fourth slice
    for position, check in ((0, "sample"), (len(intact) - 1, "sample"), (gap, "full")):
        damaged = bytearray(intact)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(StoreFormatError, match=r"vectors\.npy.*digest differs"):
            Datastore.open(store, check=check)
    Datastore.open(store)  # the last flip lies in a gap
