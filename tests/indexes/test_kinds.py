"""Kinds of index: what a datastore relies on, and how an unknown one is refused."""

import faiss
import numpy as np
import pytest

from sonogloss import files
from sonogloss.errors import OptionError, StoreFormatError
from sonogloss.indexes import Datastore, commit_datastore, verify, write_shard
from sonogloss.indexes.flat import Flat
from sonogloss.indexes.kinds import KINDS, choose_kind
from sonogloss.indexes.layout import IndexEntry
from tests.indexes.conftest import CLAP, captions, unit_rows


def written(tmp_path, vectors, kind="flat") -> str:
    index = KINDS[kind].train(vectors)
    KINDS[kind].add(index, vectors)
    path = str(tmp_path / "vectors.faiss")
    faiss.write_index(index, path)
    return path


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_keeps_its_vectors_and_finds_the_nearest(tmp_path, kind):
    vectors = unit_rows(50)
    opened = KINDS[kind].open(written(tmp_path, vectors, kind), count=50, dim=8)
    np.testing.assert_array_equal(opened.vectors, vectors)
    found = opened.search(vectors[:5].copy(), 3, np.arange(50))
    for row, (scores, rows) in enumerate(found):
        assert rows[0] == row
        assert scores[0] == pytest.approx(1, abs=1e-6)
        assert scores.tolist() == sorted(scores, reverse=True)
    assert KINDS[kind].describe().kind == kind


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_refuses_a_file_that_is_not_its_own(tmp_path, kind):
    path = written(tmp_path, unit_rows(5), kind)
    for count, dim in ((6, 8), (5, 9)):
        with pytest.raises(StoreFormatError, match=f"instead of {count} x {dim}"):
            KINDS[kind].open(path, count=count, dim=dim)
    files.write_bytes(path, b"no index")
    with pytest.raises(StoreFormatError, match="FAISS cannot read it"):
        KINDS[kind].open(path, count=5, dim=8)


@pytest.mark.parametrize("index", [faiss.IndexFlatL2(8), faiss.IndexLSH(8, 16)])
def test_flat_refuses_other_indexes(tmp_path, index):
    index.add(unit_rows(5))
    faiss.write_index(index, str(tmp_path / "i"))
    with pytest.raises(StoreFormatError, match="not a flat inner-product index"):
        Flat().open(str(tmp_path / "i"), count=5, dim=8)


def test_a_kind_is_chosen_by_name():
    assert choose_kind("auto") == "flat"
    assert choose_kind("flat") == "flat"
    with pytest.raises(OptionError, match=r"'flaat'.*did you mean 'flat'"):
        choose_kind("flaat")
    with pytest.raises(OptionError, match=r"'banana'\. Choose one of auto, flat\.$"):
        choose_kind("banana")


class Reversed(Flat):
    """A kind of somebody else's: flat, but it says what it is."""

    def describe(self) -> IndexEntry:
        return IndexEntry(kind="reversed", factory="Flat", recall_at_10=0.5, measured_on="nothing")


def test_a_new_kind_is_one_entry(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "reversed", Reversed())
    shard = write_shard(str(tmp_path), 0, captions(["a", "b"]), unit_rows(2), choose_kind("reversed"))
    manifest = commit_datastore(
        str(tmp_path), shards=[shard], support=[], clap=CLAP, options={}, kind=choose_kind("reversed")
    )
    assert (manifest.index.kind, manifest.index.recall_at_10) == ("reversed", 0.5)
    assert Datastore.open(str(tmp_path)).search(unit_rows(2)[:1], 1)[0][0].text == "a"
    assert verify(str(tmp_path)) == []
    monkeypatch.undo()
    with pytest.raises(StoreFormatError, match="'reversed' index; this release reads flat"):
        Datastore.open(str(tmp_path))
    assert verify(str(tmp_path)) == ["The index is of the kind 'reversed', and this release reads flat."]
