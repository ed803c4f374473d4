"""Kinds of index: what a datastore relies on, and how an unknown one is refused."""

import faiss
import numpy as np
import pytest

from sonogloss import files
from sonogloss.errors import OptionError, StoreFormatError
from sonogloss.indexes import Datastore, commit_datastore, verify, write_shard
from sonogloss.indexes.flat import Flat
from sonogloss.indexes.format1 import open_faiss_vectors
from sonogloss.indexes.kinds import KINDS, choose_kind
from sonogloss.indexes.layout import IndexEntry
from tests.indexes.conftest import CLAP, captions, unit_rows


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_finds_the_nearest(kind):
    vectors = unit_rows(50)
    found = KINDS[kind].open(vectors, None).search(vectors[:5].copy(), 3, np.arange(50))
    for row, (scores, rows) in enumerate(found):
        assert rows[0] == row
        assert scores[0] == pytest.approx(1, abs=1e-6)
        assert scores.tolist() == sorted(scores, reverse=True)
    assert KINDS[kind].describe().kind == kind


def old_file(tmp_path, index) -> str:
    faiss.write_index(index, str(tmp_path / "vectors.faiss"))
    return str(tmp_path / "vectors.faiss")


def test_a_file_of_format_1_that_is_not_what_the_manifest_says_is_refused(tmp_path):
    index = faiss.IndexFlatIP(8)
    index.add(unit_rows(5))
    path = old_file(tmp_path, index)
    np.testing.assert_array_equal(open_faiss_vectors(path, count=5, dim=8), unit_rows(5))
    for count, dim in ((6, 8), (5, 9)):
        with pytest.raises(StoreFormatError, match=f"instead of {count} x {dim}"):
            open_faiss_vectors(path, count=count, dim=dim)
    files.write_bytes(path, b"no index")
    with pytest.raises(StoreFormatError, match="FAISS cannot read it"):
        open_faiss_vectors(path, count=5, dim=8)


@pytest.mark.parametrize("index", [faiss.IndexFlatL2(8), faiss.IndexLSH(8, 16)])
def test_other_indexes_are_refused_as_vectors_of_format_1(tmp_path, index):
    index.add(unit_rows(5))
    with pytest.raises(StoreFormatError, match="not a flat inner-product index"):
        open_faiss_vectors(old_file(tmp_path, index), count=5, dim=8)


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
    shard = write_shard(str(tmp_path), 0, captions(["a", "b"]), unit_rows(2))
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
