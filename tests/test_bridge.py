from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.bridge import add_noise, empty_state, finish, merge, partial_softmax, project
from sonogloss.errors import OptionError

GOLDEN = Path(__file__).parents[1].parent / "shared" / "data" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded outputs of the released code are not here")


def unit_rows(rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@st.composite
def worlds(draw):
    dim = draw(st.integers(2, 40))
    support = unit_rows(draw(st.integers(1, 60)), dim, draw(st.integers(0, 2**32 - 1)))
    queries = unit_rows(draw(st.integers(1, 70)), dim, draw(st.integers(0, 2**32 - 1)))
    return queries, support, draw(st.sampled_from([0.01, 0.07, 0.5, 5.0]))


@needs_golden
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_projection_equals_the_released_code(rows):
    golden = np.load(GOLDEN / "drcap" / "projection.npz")
    raw, support = golden["audio_raw"], golden[f"support{rows}"]
    audio = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    for tau in ("0.01", "0.03", "0.07", "0.5", "5.0"):
        plain = project(audio, support, temperature=float(tau), renormalise=False)
        scaled = project(audio, support, temperature=float(tau), renormalise=True)
        np.testing.assert_allclose(plain, golden[f"drcap.{rows}.{tau}"], rtol=0, atol=5e-6)
        np.testing.assert_allclose(scaled, golden[f"derived_renorm.{rows}.{tau}"], rtol=0, atol=5e-6)
    wsac = project(audio, support, temperature=0.01, renormalise=True)
    nearest = project(audio, support, temperature=0, renormalise=False)
    np.testing.assert_allclose(wsac, golden[f"wsac_pd.{rows}"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(wsac, golden[f"map2memory.{rows}"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(nearest, golden[f"wsac_nnd.{rows}"], rtol=0, atol=5e-6)


@given(worlds())
@settings(deadline=None, max_examples=40)
def test_projection_is_a_convex_combination(world):
    queries, support, tau = world
    scores = queries.astype(float) @ support.T.astype(float) / tau
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    projected = project(queries, support, temperature=tau, renormalise=False)
    np.testing.assert_allclose(projected, weights @ support, atol=1e-6)
    assert np.all(np.linalg.norm(projected, axis=1) <= 1 + 1e-6)


@given(worlds())
@settings(deadline=None, max_examples=40)
def test_vanishing_temperature_gives_the_nearest_row(world):
    queries, support, _ = world
    nearest = support[(queries.astype(float) @ support.T.astype(float)).argmax(axis=1)]
    np.testing.assert_allclose(project(queries, support, temperature=0, renormalise=False), nearest, atol=1e-6)
    np.testing.assert_allclose(project(queries, support, temperature=1e-300, renormalise=False), nearest, atol=1e-6)


@given(worlds())
@settings(deadline=None, max_examples=20)
def test_one_row_support_returns_that_row(world):
    queries, support, tau = world
    projected = project(queries, support[:1], temperature=tau, renormalise=False)
    np.testing.assert_array_equal(projected, np.repeat(support[:1], len(queries), axis=0))


@given(worlds(), st.lists(st.integers(0, 60), max_size=5), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_shards_in_any_order_equal_the_whole(world, cuts, random):
    queries, support, tau = world
    blocks = [b for b in np.split(support, sorted(min(c, len(support)) for c in cuts)) if len(b)]
    random.shuffle(blocks)
    whole = project(queries, support, temperature=tau, renormalise=True)
    np.testing.assert_allclose(project(queries, blocks, temperature=tau, renormalise=True), whole, atol=2e-7)


@given(worlds())
@settings(deadline=None, max_examples=20)
def test_states_merge_associatively_around_a_neutral_element(world):
    queries, support, tau = world
    first, second, third = (partial_softmax(queries, s, tau) for s in (support, support[::-1], -support))
    left = merge(merge(first, second, tau), third, tau)
    right = merge(first, merge(second, third, tau), tau)
    np.testing.assert_allclose(left.vector, right.vector, rtol=1e-12, atol=1e-12)
    neutral = merge(empty_state(*queries.shape), first, tau)
    np.testing.assert_array_equal(neutral.vector, first.vector)
    np.testing.assert_array_equal(neutral.total, first.total)


@given(worlds(), st.integers(2, 5))
@settings(deadline=None, max_examples=20)
def test_duplicated_rows_weigh_as_often_as_they_occur(world, times):
    queries, support, tau = world
    state = merge(
        partial_softmax(queries, np.repeat(support[:1], times, axis=0), tau),
        partial_softmax(queries, support, tau),
        tau,
    )
    scores = queries.astype(float) @ support.T.astype(float) / tau
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights[:, 0] *= times + 1
    expected = weights @ support / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(finish(state, renormalise=False), expected, atol=1e-6)


@given(worlds())
@settings(deadline=None, max_examples=40)
def test_a_row_does_not_depend_on_its_batch(world):
    queries, support, tau = world
    together = project(queries, support, temperature=tau, renormalise=False)
    alone = [project(q[None], support, temperature=tau, renormalise=False)[0] for q in queries]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[::-1], project(queries[::-1], support, temperature=tau, renormalise=False))


def test_no_queries_no_rows():
    assert project(np.zeros((0, 4), np.float32), unit_rows(3, 4, 0), temperature=0.1, renormalise=True).shape == (0, 4)


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_unusable_temperature_is_refused(temperature):
    with pytest.raises(OptionError, match="temperature"):
        project(unit_rows(1, 4, 0), unit_rows(3, 4, 0), temperature=temperature, renormalise=False)


def test_empty_support_is_refused():
    with pytest.raises(OptionError, match="support"):
        project(unit_rows(1, 4, 0), [], temperature=0.1, renormalise=False)


@needs_golden
@pytest.mark.parametrize("variance", ["0.001", "0.016"])
def test_noise_equals_the_released_code(variance):
    torch = pytest.importorskip("torch")
    golden = np.load(GOLDEN / "softhard" / "noise.npz")
    draws = torch.randn(golden["x"].shape, generator=torch.Generator().manual_seed(77)).numpy()
    noisy = add_noise(golden["x"], draws, std=float(variance) ** 0.5)
    np.testing.assert_allclose(noisy, golden[f"noise_seed77_var{variance}"], rtol=0, atol=1e-6)


def test_noise_leaves_the_cosine_that_theory_says():
    clean = unit_rows(4000, 64, 1)
    draws = np.random.default_rng(2).standard_normal(clean.shape, dtype=np.float32)
    cosines = (clean * add_noise(3 * clean, draws, std=0.1)).sum(axis=1)
    assert abs(cosines.mean() - 1 / np.sqrt(1 + 64 * 0.01)) < 3 * cosines.std() / np.sqrt(len(clean)) + 2e-3


def test_no_noise_is_normalization():
    clean = unit_rows(3, 8, 0)
    np.testing.assert_allclose(add_noise(5 * clean, np.ones_like(clean), std=0), clean, atol=1e-6)
