import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.bridge import project
from sonogloss.errors import ClipError, Code, FingerprintMismatchError, OptionError, StoreFormatError
from sonogloss.indexes import Datastore, Support, commit_datastore, write_shard, write_support_part
from sonogloss.records import caption_id
from tests.indexes.conftest import CLAP, build, build_format1, captions, unit_rows

GOLDEN = Path(__file__).parents[3] / "shared" / "data" / "golden" / "drcap"


def expected_ids(vectors, queries, ids, k):
    """Exact search by plain arithmetic in float64: the score, then the id."""
    scores = (queries[:, None].astype(float) * vectors.astype(float)).sum(axis=2)
    return [[ids[r] for r in np.lexsort((ids, -row))[:k]] for row in scores]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded outputs of the released code are not here")
def test_retrieval_equals_the_released_code(tmp_path):
    golden = np.load(GOLDEN / "retrieval.npz")
    audio, vectors = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (golden["audio"], golden["db"]))
    store = Datastore.open(build(tmp_path, vectors, shards=4, ids=list(range(len(vectors)))))
    for k in (1, 3, 5):
        assert [[c.id for c in row] for row in store.search(audio, k)] == golden[f"top{k}"].tolist()


def test_contexts_carry_caption_source_and_cosine(tmp_path):
    vectors = unit_rows(20)
    store = Datastore.open(build(tmp_path, vectors, shards=3))
    (contexts,) = store.search(vectors[11:12], 2)
    assert contexts[0].text == "caption 11"
    assert contexts[0].source == "toy"
    assert contexts[0].score == pytest.approx(1, abs=1e-6)
    assert contexts[0].score <= 1
    assert contexts[1].score == pytest.approx(np.sort(vectors @ vectors[11])[-2], abs=1e-6)
    assert (store.count, store.dim, store.clap_fingerprint) == (20, 8, "f" * 64)


@given(
    rows=st.integers(1, 60),
    shards=st.integers(1, 5),
    n=st.integers(1, 30),
    k=st.integers(1, 70),
    data=st.data(),
    distinct=st.integers(1, 60),
)
@settings(deadline=None, max_examples=40)
def test_search_is_exact_whatever_the_shards_and_ties(tmp_path_factory, rows, shards, n, k, data, distinct):
    vectors = unit_rows(distinct, dim=16, seed=data.draw(st.integers(0, 999)))[np.arange(rows) % distinct]
    ids = data.draw(st.permutations(range(rows)))
    queries = unit_rows(n, dim=16, seed=1)
    directory = tmp_path_factory.mktemp("store")
    store = Datastore.open(build(directory, vectors, shards=min(shards, rows), ids=ids))
    assert [[c.id for c in row] for row in store.search(queries, k)] == expected_ids(vectors, queries, ids, k)


@given(
    rows=st.integers(1, 40),
    distinct=st.integers(1, 40),
    cuts=st.lists(st.integers(1, 6), min_size=2, max_size=3, unique=True),
    k=st.integers(1, 12),
    scale=st.sampled_from([1e-7, 1e-4, 1.0]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=20)
def test_shards_of_any_number_answer_alike_also_where_scores_nearly_tie(
    tmp_path_factory, rows, distinct, cuts, k, scale, seed
):
    """The rows lie around one direction, so that float32 scores differ in their last digits or not at all."""
    rng = np.random.default_rng(seed)
    centre = unit_rows(1, dim=16, seed=seed)
    vectors = centre + scale * rng.standard_normal((distinct, 16))[np.arange(rows) % distinct]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = rng.permutation(rows).tolist()
    queries = np.concatenate([centre, vectors[:3], unit_rows(2, dim=16, seed=seed + 1)]).astype(np.float32)
    answers = []
    for cut in cuts:
        directory = tmp_path_factory.mktemp("store")
        store = Datastore.open(build(directory, vectors, shards=min(cut, rows), ids=ids))
        answers.append(store.search(queries, k))
        assert [[c.id for c in row] for row in answers[-1]] == expected_ids(vectors, queries, ids, k)
    assert all(answer == answers[0] for answer in answers)


@given(order=st.permutations(range(4)))
@settings(deadline=None, max_examples=10)
def test_shards_may_be_committed_in_any_order(tmp_path_factory, order):
    directory = str(tmp_path_factory.mktemp("store"))
    vectors = unit_rows(8)
    entries, parts = [], []
    for number in order:
        rows = slice(2 * number, 2 * number + 2)
        entries.append(
            write_shard(directory, number, captions([f"c{2 * number}", f"c{2 * number + 1}"]), vectors[rows])
        )
        parts.append(write_support_part(directory, number, vectors[rows]))
    manifest = commit_datastore(directory, shards=entries, support=parts, clap=CLAP, options={})
    assert (
        [shard.number for shard in manifest.shards] == [part.number for part in manifest.support.parts] == [0, 1, 2, 3]
    )
    assert Datastore.open(directory).texts(np.arange(8)) == [f"c{row}" for row in range(8)]


def test_many_equal_captions_come_by_ascending_id(tmp_path):
    vectors = np.concatenate([np.repeat(unit_rows(1), 200, axis=0), unit_rows(100, seed=5)])
    ids = np.random.default_rng(3).permutation(300).tolist()
    store = Datastore.open(build(tmp_path, vectors, shards=2, ids=ids))
    (contexts,) = store.search(vectors[:1], 5)
    assert [c.id for c in contexts] == sorted(ids[:200])[:5]


def test_a_query_does_not_depend_on_its_batch(tmp_path):
    vectors, queries = unit_rows(3000, dim=64), unit_rows(75, dim=64, seed=9)
    store = Datastore.open(build(tmp_path, vectors, shards=2))
    together = store.search(queries, 3)
    assert together == [store.search(q[None], 3)[0] for q in queries]
    assert together[::-1] == store.search(queries[::-1], 3)


def test_more_than_there_is_and_none_at_all(store_dir):
    store = Datastore.open(store_dir)
    assert [len(row) for row in store.search(unit_rows(2), 100)] == [20, 20]
    assert store.search(unit_rows(2), 0) == [[], []]
    assert store.search(unit_rows(0), 3) == []
    with pytest.raises(OptionError, match="-1 contexts"):
        store.search(unit_rows(1), -1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_queries_that_are_not_finite_are_refused(store_dir, value):
    store, queries = Datastore.open(store_dir), unit_rows(3)
    queries[1, 2] = value
    with pytest.raises(ClipError, match="query 1 of 3") as refusal:
        store.search(queries, 3)
    assert refusal.value.code == Code.NON_FINITE
    with pytest.raises(ClipError, match="query 1 of 3"):
        store.project(queries, temperature=0.1, renormalise=False)


def test_queries_of_another_width_are_refused(store_dir):
    with pytest.raises(FingerprintMismatchError, match="width 8"):
        Datastore.open(store_dir).search(unit_rows(2, dim=9), 1)


def test_another_clap_is_refused(store_dir):
    store = Datastore.open(store_dir)
    store.require_clap("toy", "f" * 64)
    with pytest.raises(FingerprintMismatchError, match="'other' has the fingerprint 0000"):
        store.require_clap("other", "0" * 64)


def test_projection_walks_all_parts(tmp_path):
    vectors, queries = unit_rows(50), unit_rows(4, seed=2)
    store = Datastore.open(build(tmp_path, vectors, support=[vectors[:20], vectors[20:]]))
    projected = store.project(queries, temperature=0.07, renormalise=False)
    whole = project(queries, vectors, temperature=0.07, renormalise=False)
    np.testing.assert_allclose(projected, whole, atol=2e-7)


def test_support_of_another_datastore(tmp_path, store_dir):
    domain, queries = unit_rows(5, seed=7), unit_rows(3, seed=2)
    other = build(tmp_path / "other", domain)
    adapted = Datastore.open(store_dir, support=other)
    np.testing.assert_array_equal(
        adapted.project(queries, temperature=0.1, renormalise=True),
        Support.open(other).project(queries, temperature=0.1, renormalise=True),
    )
    assert adapted.search(queries, 3) == Datastore.open(store_dir).search(queries, 3)
    stranger = build(tmp_path / "stranger", domain, fingerprint="0" * 64)
    with pytest.raises(FingerprintMismatchError, match="support"):
        Datastore.open(store_dir, support=stranger)


def test_a_datastore_without_support_only_retrieves(tmp_path):
    empty = unit_rows(0)
    path = build(tmp_path, unit_rows(4), support=[empty])
    store = Datastore.open(path)
    assert len(store.search(unit_rows(1), 3)[0]) == 3
    with pytest.raises(StoreFormatError, match="no text support"):
        store.project(unit_rows(1), temperature=0.1, renormalise=False)
    with pytest.raises(StoreFormatError, match="no text support"):
        Support.open(path)


@pytest.mark.parametrize(
    "name", ["shards/00000/vectors.npy", "shards/00001/captions.parquet", "support/part-00000.npy"]
)
@pytest.mark.parametrize("damage", ["garbage", "cut", "gone"])
def test_damaged_files_are_refused_in_words(store_dir, name, damage):
    path = Path(store_dir, name)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"x" * len(content) if damage == "garbage" else content[: len(content) // 2])
    with pytest.raises(StoreFormatError, match=Path(name).name):
        Datastore.open(store_dir).search(unit_rows(1), 1)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 19), max_size=30))
def test_captions_and_vectors_come_by_row_whatever_the_shards(store_dir, rows):
    store, vectors = Datastore.open(store_dir), unit_rows(20)
    assert store.texts(np.array(rows, int)) == [f"caption {row}" for row in rows]
    assert store.texts(np.array(rows, int), "split") == ["train"] * len(rows)
    assert np.array_equal(store.vectors(np.array(rows, int)), vectors[np.array(rows, int)])


def test_all_captions_are_walked_in_order(store_dir):
    ids, vectors = zip(*Datastore.open(store_dir).blocks(), strict=True)
    assert len(ids) == 3  # one a shard, as they are small
    assert np.concatenate(ids).tolist() == [caption_id(f"caption {row}") for row in range(20)]
    assert np.array_equal(np.concatenate(vectors), unit_rows(20))


def test_a_column_that_is_not_there_is_refused(store_dir):
    with pytest.raises(StoreFormatError, match="french"):
        Datastore.open(store_dir).texts(np.arange(3), "french")


def test_remote_datastores_are_copied_once(tmp_path, store_dir):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(store_dir, "/remote/store", recursive=True)
    cache = tmp_path / "cache"
    queries = unit_rows(3, seed=2)
    remote = Datastore.open("memory://remote/store", cache_dir=str(cache))
    local = Datastore.open(store_dir)
    assert remote.search(queries, 3) == local.search(queries, 3)
    np.testing.assert_array_equal(
        remote.project(queries, temperature=0.1, renormalise=False),
        local.project(queries, temperature=0.1, renormalise=False),
    )
    memory.rm("/remote/store/shards", recursive=True)
    assert Datastore.open("memory://remote/store", cache_dir=str(cache)).search(queries, 3) == local.search(queries, 3)
    with pytest.raises(StoreFormatError, match="missing"):
        Datastore.open("memory://remote/store", cache_dir=str(tmp_path / "fresh"))
    memory.rm("/remote", recursive=True)


def test_remote_bytes_are_checked_on_the_way(tmp_path, store_dir):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(store_dir, "/remote/damaged", recursive=True)
    memory.pipe("/remote/damaged/support/part-00000.npy", b"x" * memory.size("/remote/damaged/support/part-00000.npy"))
    with pytest.raises(StoreFormatError, match="sha256"):
        Datastore.open("memory://remote/damaged", cache_dir=str(tmp_path / "cache"))
    memory.rm("/remote", recursive=True)


@pytest.mark.parametrize("name", ["vectors.npy", "captions.parquet", "part-00000.npy"])
def test_a_flipped_byte_is_refused(tmp_path, name):
    store = build(tmp_path, unit_rows(20))
    (path,) = Path(store).rglob(name)
    intact, random = path.read_bytes(), np.random.default_rng(0)
    for position in random.integers(0, len(intact), size=20):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(StoreFormatError, match=name):
            Datastore.open(store)


@pytest.mark.parametrize("name", ["vectors.faiss", "captions.parquet", "part-00000.npy"])
def test_flipped_bytes_of_format_1_never_end_in_a_traceback(tmp_path, name):
    store, query = build_format1(tmp_path, unit_rows(20)), unit_rows(1, seed=4)
    (path,) = Path(store).rglob(name)
    intact, random = path.read_bytes(), np.random.default_rng(0)
    for position in random.integers(0, min(len(intact), 600), size=60):
        damaged = bytearray(intact)
        damaged[position] = random.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(StoreFormatError):  # a change that nobody can see without a digest may pass
            opened = Datastore.open(store)
            opened.search(query, 3)
            opened.project(query, temperature=0.1, renormalise=False)


@pytest.mark.parametrize("temperature", [0, 0.01, 0.07])
def test_one_pass_gives_what_two_give(tmp_path, temperature):
    vectors, queries = unit_rows(200, dim=32), unit_rows(9, dim=32, seed=1)
    store = Datastore.open(build(tmp_path / "own", vectors, shards=3, support="all"))
    apart = Datastore.open(build(tmp_path / "apart", vectors, shards=3, support=[vectors[:50]]))
    for opened in (store, apart):
        contexts, projected = opened.search_and_project(queries, 4, temperature=temperature, renormalise=True)
        assert contexts == opened.search(queries, 4)
        np.testing.assert_array_equal(projected, opened.project(queries, temperature=temperature, renormalise=True))
        alone, one = opened.search_and_project(queries[3:4], 4, temperature=temperature, renormalise=True)
        assert alone == contexts[3:4]
        np.testing.assert_array_equal(one, projected[3:4])
    assert store.search_and_project(queries[:0], 4, temperature=0.1, renormalise=True)[0] == []
    with pytest.raises(OptionError, match="temperature -1"):
        store.search_and_project(queries, 4, temperature=-1, renormalise=True)


def test_shards_mapped_one_by_one_answer_the_same_bits(tmp_path):
    vectors, queries = unit_rows(300, dim=32), unit_rows(7, dim=32, seed=1)
    path = build(tmp_path / "store", vectors, shards=4, support="all")
    kept, mapped = Datastore.open(path), Datastore.open(path, search="partitioned")
    ask = {"temperature": 0.02, "renormalise": False}
    contexts, projected = mapped.search_and_project(queries, 6, **ask)
    assert contexts == kept.search_and_project(queries, 6, **ask)[0]
    np.testing.assert_array_equal(projected, kept.search_and_project(queries, 6, **ask)[1])
    assert mapped.search(queries, 6) == contexts
    np.testing.assert_array_equal(mapped.project(queries, **ask), projected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_tensors_are_queries_too(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    store = Datastore.open(build(tmp_path, unit_rows(40), shards=2, support="all"))
    tensor = torch.tensor(unit_rows(3, seed=1)).to(getattr(torch, dtype)).requires_grad_()
    array = tensor.detach().float().numpy()
    ask = {"temperature": 0.05, "renormalise": True}
    assert store.search(tensor, 4) == store.search(array, 4)
    np.testing.assert_array_equal(store.project(tensor, **ask), store.project(array, **ask))
    contexts, projected = store.search_and_project(tensor, 4, **ask)
    assert contexts == store.search(array, 4)
    np.testing.assert_array_equal(projected, store.project(array, **ask))


def two_stores(tmp_path, **kinds):
    """Captions 0-19 in two stores that share 8-11, and all of them in one."""
    vectors, ids = unit_rows(20), list(range(100, 120))
    paths = []
    for name, rows in (("a", range(12)), ("b", range(8, 20)), ("both", range(20))):
        rows = list(rows)
        chosen = [ids[row] for row in rows]
        paths.append(build(tmp_path / name, vectors[rows], shards=2, ids=chosen, **kinds))
    return vectors, paths


def test_several_stores_are_one(tmp_path):
    vectors, (first, second, both) = two_stores(tmp_path, support="all")
    several, merged = Datastore.open([first, second]), Datastore.open(both)
    queries = np.concatenate([vectors[8:12], unit_rows(4, seed=3)])
    found, expected = several.search(queries, 20), merged.search(queries, 20)
    assert [[(c.id, c.score) for c in row] for row in found] == [[(c.id, c.score) for c in row] for row in expected]
    ask = {"temperature": 0.05, "renormalise": True}
    np.testing.assert_allclose(several.project(queries, **ask), merged.project(queries, **ask), atol=1e-6)
    np.testing.assert_array_equal(several.search_and_project(queries, 3, **ask)[1], several.project(queries, **ask))
    assert several.count == several.support.count == 20
    assert sorted(np.concatenate([ids for ids, _ in several.blocks()])) == list(range(100, 120))
    rows = np.arange(20)
    assert len(set(several.texts(rows))) == 12  # the texts of both begin with "caption 0"
    assert np.array_equal(np.concatenate([block for _, block in several.blocks()]), several.vectors(rows))
    mapped = Datastore.open([first, second], search="partitioned")
    assert mapped.search(queries, 5) == several.search(queries, 5)
    with pytest.raises(FingerprintMismatchError, match="stranger"):
        Datastore.open([first, build(tmp_path / "stranger", vectors, fingerprint="0" * 64)])


def test_captions_are_found_where_a_column_says_so(tmp_path):
    vectors = unit_rows(40)
    tables = [
        captions([f"c{row}" for row in range(start, start + 20)], source) for start, source in ((0, "x"), (20, "y"))
    ]
    entries = [write_shard(str(tmp_path), n, table, vectors[20 * n : 20 * n + 20]) for n, table in enumerate(tables)]
    commit_datastore(str(tmp_path), shards=entries, support=[], clap=CLAP, options={})
    store = Datastore.open(str(tmp_path))
    queries = unit_rows(3, seed=4)
    (only,) = {c.source for row in store.search(queries, 30, where={"source": ["y"]}) for c in row}
    assert only == "y"
    everything = store.search(queries, 40)
    expected = [[context for context in row if context.source == "x"][:5] for row in everything]
    assert store.search(queries, 5, where={"source": ["x", "z"], "split": ["train"]}) == expected
    assert store.search(queries, 5, where={"split": ["test"]}) == [[], [], []]
    with pytest.raises(OptionError, match="no column 'french'"):
        store.search(queries, 5, where={"french": ["oui"]})


def test_a_caption_is_found_by_its_id(store_dir):
    store = Datastore.open(store_dir)
    vector, text = store.caption(caption_id("caption 13"))
    assert text == "caption 13"
    np.testing.assert_array_equal(vector, unit_rows(20)[13])
    with pytest.raises(OptionError, match="no caption with the id 7"):
        store.caption(7)
