"""Kinds of index: what a datastore relies on, and how an unknown one is refused."""

import faiss
import numpy as np
import pytest

from sonogloss import files
from sonogloss.errors import OptionError, StoreFormatError
from sonogloss.indexes import Datastore, commit_datastore, verify, write_shard
from sonogloss.indexes.flat import Flat
from sonogloss.indexes.format1 import open_faiss_vectors
from sonogloss.indexes.kinds import KINDS
from sonogloss.indexes.layout import IndexEntry, Manifest
from sonogloss.indexes.recall import _choose_setting, measure, write_queries
from sonogloss.indexes.train import IndexRequest, add_index, check_request, choose, train
from tests.indexes.conftest import CLAP, captions, unit_rows


def clustered(rows: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Unit rows around some centers."""
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((20, dim))
    found = centers[random.integers(20, size=rows)] + 0.3 * random.standard_normal((rows, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def indexed(directory, vectors, request: IndexRequest, *, dtype="float32", shards=2, audio=None) -> Manifest:
    """A committed datastore with the index that is asked for."""
    store, entries = str(directory), []
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), shards)):
        entries.append(write_shard(store, number, captions([f"c {r}" for r in rows]), vectors[rows], dtype))
    trained = train(store, entries, request, dtype=dtype)
    index = None
    if trained is not None:
        entries = [add_index(entry, trained, directory=store, dtype=dtype) for entry in entries]
        queries = None if audio is None else write_queries(store, audio)
        index, speed = measure(store, entries, trained, request, dtype=dtype, queries=queries)
        assert set(speed["queries_per_s"]) == {"1", "32"}
    clap = CLAP | {"dim": vectors.shape[1]}
    return commit_datastore(store, shards=entries, clap=clap, options={}, index=index, vectors=dtype)


def test_flat_finds_the_nearest():
    vectors = unit_rows(50)
    found = Flat().open(vectors, None, Flat().describe()).search(vectors[:5].copy(), 3, np.arange(50))
    for row, (scores, rows) in enumerate(found):
        assert rows[0] == row
        assert scores[0] == pytest.approx(1, abs=1e-6)
        assert scores.tolist() == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("ivf-flat", "float32"),
        ("ivf-rabitq", "float16"),
        ("ivf-pq", "float32"),
        ("HNSW16", "float32"),
        ("IVF8,SQ8", "float32"),
    ],
)
def test_every_kind_finds_what_it_says_and_scores_exactly(tmp_path, name, dtype):
    vectors, queries = clustered(1200), clustered(60, seed=1)
    manifest = indexed(tmp_path, vectors, IndexRequest(name=name, recall=0.9), dtype=dtype or "float32")
    assert manifest.index.kind == (name if name in KINDS else "factory")
    assert manifest.index.recall_at_10 >= 0.9
    assert manifest.index.recall_wanted == 0.9
    assert verify(str(tmp_path)) == []
    store = Datastore.open(str(tmp_path))
    stored = store.vectors(np.arange(1200)).astype(np.float64)
    exact = queries.astype(np.float64) @ stored.T
    found = store.search(queries, 10)
    hits = 0
    for row, contexts in zip(exact, found, strict=True):
        rows = [int(context.text.split()[1]) for context in contexts]
        np.testing.assert_allclose([context.score for context in contexts], row[rows], atol=1e-6)
        hits += len(set(rows) & set(np.argsort(-row)[:10]))
    assert hits / 600 >= 0.85  # of queries that it was not measured with


def test_the_same_store_has_the_same_index(tmp_path):
    request = IndexRequest(name="ivf-pq", recall=0.9)
    first, second = (indexed(tmp_path / name, clustered(1000), request) for name in "ab")
    assert first == second


def test_a_target_that_cannot_be_met_is_said(tmp_path):
    vectors = unit_rows(1000, dim=64)
    manifest = indexed(tmp_path, vectors, IndexRequest(name="PQ2x4", recall=1.0))
    assert manifest.index.recall_at_10 < 1 == manifest.index.recall_wanted


def test_a_setting_looks_in_more_lists_while_that_helps_and_then_at_more_candidates():
    tried = []

    def recalls(setting):
        tried.append((setting.get("nprobe", 0), setting["candidates"]))
        share = min(1.0, (setting.get("nprobe", 16)) / 16)
        return [(1.0, 1.0), (share, share * {100: 0.8, 400: 0.95, 1600: 0.97}[setting["candidates"]])]

    assert _choose_setting(recalls, 9000, 64, 0.9) == ([(1, 1), (1, 0.95)], {"candidates": 400, "nprobe": 16})
    assert tried == [(1, 100), (2, 100), (4, 100), (8, 100), (16, 100), (32, 100), (16, 400)]
    tried.clear()
    assert _choose_setting(recalls, 9000, 64, 0.99)[1] == {"candidates": 1600, "nprobe": 16}  # the best there is
    assert len(tried) == 10
    assert _choose_setting(recalls, 9000, 0, 0.9)[1] == {"candidates": 400}
    assert _choose_setting(recalls, 1000, 0, 0.9)[1] == {"candidates": 100}  # more would be a search of all


def test_as_much_is_found_of_what_recordings_are_near(tmp_path):
    vectors, audio = clustered(1200), unit_rows(40, dim=16, seed=5)
    manifest = indexed(tmp_path, vectors, IndexRequest(name="ivf-flat", recall=0.95))
    with_audio = indexed(tmp_path / "audio", vectors, IndexRequest(name="ivf-flat", recall=0.95), audio=audio)
    assert with_audio.index.audio_recall_at_10 >= 0.95
    assert with_audio.index.parameters["nprobe"] > manifest.index.parameters["nprobe"]  # far from captions: more lists
    assert with_audio.index.measured_on.endswith("and 40 audio embeddings")
    assert verify(str(tmp_path / "audio")) == []
    found = Datastore.open(str(tmp_path / "audio")).search(audio, 10)
    true = np.argsort(-audio.astype(np.float64) @ vectors.T.astype(np.float64), axis=1)[:, :10]
    hits = [len({int(c.text.split()[1]) for c in one} & set(other)) for one, other in zip(found, true, strict=True)]
    assert sum(hits) / 400 == pytest.approx(with_audio.index.audio_recall_at_10, abs=1e-4)
    (tmp_path / "audio/index/queries.npy").write_bytes(b"other")
    assert any("index/queries.npy" in problem for problem in verify(str(tmp_path / "audio")))


def test_a_graph_looks_as_wide_as_candidates_are_wanted(tmp_path):
    audio = unit_rows(60, dim=32, seed=5)
    manifest = indexed(
        tmp_path, unit_rows(3000, dim=32), IndexRequest(name="HNSW6", recall=0.98), audio=audio, shards=1
    )
    assert manifest.index.parameters == {"candidates": 400}
    assert manifest.index.audio_recall_at_10 >= 0.98
    assert {len(found) for found in Datastore.open(str(tmp_path)).search(audio, 500)} == {500}


@pytest.mark.parametrize("name", ["ivf-flat", "ivf-pq", "ivf-rabitq", "auto", "flat"])
@pytest.mark.parametrize("rows", [1, 3, 50])
def test_small_stores_have_an_index_too(tmp_path, name, rows):
    manifest = indexed(tmp_path, unit_rows(rows), IndexRequest(name=name), shards=1)
    assert Datastore.open(str(tmp_path)).search(unit_rows(1), 5)
    assert manifest.count == rows
    assert manifest.index.kind == "flat"


def test_auto_is_exact_while_the_vectors_fit_and_then_the_best_that_fits():
    def chosen(memory: float) -> str:
        return choose(IndexRequest(memory=memory), count=10_000_000, dim=512, itemsize=4)[0]

    assert chosen(20.6e9) == "flat"
    assert chosen(20.4e9) == "ivf-rabitq"
    assert chosen(0.81e9) == "ivf-rabitq"
    assert chosen(0.75e9) == "ivf-pq"
    assert chosen(1) == "ivf-pq"


@pytest.mark.parametrize("name", ["ivf-flat", "HNSW16"])
@pytest.mark.parametrize("damage", ["garbage", "other"])
def test_an_index_file_that_is_not_the_shards_is_refused(tmp_path, name, damage):
    manifest = indexed(tmp_path, clustered(1200), IndexRequest(name=name, recall=0.5))
    path = str(tmp_path / "shards/00000/index.faiss")
    if damage == "garbage":
        files.write_bytes(path, b"no index")
    else:
        faiss.write_index(faiss.IndexFlatIP(16), path)
    with pytest.raises(StoreFormatError, match=r"index\.faiss"):
        KINDS[manifest.index.kind].open(clustered(600), path, manifest.index)


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


def test_an_index_that_cannot_be_made_is_refused():
    for name in ("auto", *KINDS, "OPQ8,IVF16,PQ8", "HNSW32"):
        check_request(IndexRequest(name=name), 64)
    with pytest.raises(OptionError, match=r"Unknown index 'banana'.*auto, flat, ivf-flat"):
        check_request(IndexRequest(name="banana"), 64)
    with pytest.raises(OptionError, match="width of 10"):
        check_request(IndexRequest(name="PQ4"), 10)


class Reversed(Flat):
    """A kind of somebody else's: flat, but it says what it is."""

    def describe(self) -> IndexEntry:
        return IndexEntry(kind="reversed", factory="Flat", recall_at_10=0.5, measured_on="nothing")


def test_a_new_kind_is_one_entry(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "reversed", Reversed())
    shard = write_shard(str(tmp_path), 0, captions(["a", "b"]), unit_rows(2))
    manifest = commit_datastore(str(tmp_path), shards=[shard], clap=CLAP, options={}, index=Reversed().describe())
    assert (manifest.index.kind, manifest.index.recall_at_10) == ("reversed", 0.5)
    assert Datastore.open(str(tmp_path)).search(unit_rows(2)[:1], 1)[0][0].text == "a"
    assert verify(str(tmp_path)) == []
    monkeypatch.undo()
    with pytest.raises(StoreFormatError, match="'reversed' index; this release reads flat"):
        Datastore.open(str(tmp_path))
    assert verify(str(tmp_path)) == [f"The index is of the kind 'reversed', and this release reads {', '.join(KINDS)}."]
