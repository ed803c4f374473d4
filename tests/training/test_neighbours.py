from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import OptionError
from sonogloss.records import FloatArray
from sonogloss.training.neighbours import band_pairs, draw_contexts


def _unit(rows: int, seed: int, dim: int = 4) -> FloatArray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


CAPTIONS, EMBEDDINGS = [f"caption {i}" for i in range(30)], _unit(30, 1)
STORE = [f"caption {i}" for i in range(20, 90)]
STORE_EMBEDDINGS = np.concatenate([EMBEDDINGS[20:], _unit(60, 2)])


@settings(deadline=None, max_examples=40)
@given(
    low=st.floats(-1, 0.9),
    width=st.floats(0.05, 2.0),
    count=st.integers(1, 6),
    seed=st.integers(0, 2**32),
    block=st.integers(1, 100),
)
def test_every_pick_lies_in_the_band_and_no_block_decides_it(
    low: float, width: float, count: int, seed: int, block: int
) -> None:
    band = (low, low + width)
    drawn = draw_contexts(CAPTIONS, EMBEDDINGS, STORE, STORE_EMBEDDINGS, count=count, band=band, seed=seed)
    cosines = EMBEDDINGS @ STORE_EMBEDDINGS.T
    for i, row in enumerate(drawn):
        picked = row[row >= 0]
        inside = [
            j
            for j in range(len(STORE))
            if np.float32(band[0]) < cosines[i, j] < np.float32(band[1]) and STORE[j] != CAPTIONS[i]
        ]
        assert set(picked) <= set(inside)
        assert len(picked) == len(set(picked)) == min(count, len(inside))
        assert (row[len(picked) :] == -1).all()
    again = draw_contexts(CAPTIONS, EMBEDDINGS, STORE, STORE_EMBEDDINGS, count=count, band=band, seed=seed, block=block)
    assert np.array_equal(drawn, again)


def test_the_draw_knows_neither_the_order_of_captions_nor_of_the_datastore() -> None:
    order, store_order = np.random.default_rng(3).permutation(30), np.random.default_rng(4).permutation(70)
    plain = draw_contexts(CAPTIONS, EMBEDDINGS, STORE, STORE_EMBEDDINGS, count=3, band=(0, 0.9), seed=7)
    moved = draw_contexts(
        [CAPTIONS[i] for i in order],
        EMBEDDINGS[order],
        [STORE[i] for i in store_order],
        STORE_EMBEDDINGS[store_order],
        count=3,
        band=(0, 0.9),
        seed=7,
    )
    assert [[STORE[j] for j in plain[i]] for i in order] == [[STORE[store_order[j]] for j in row] for row in moved]


def test_the_draw_is_uniform() -> None:
    captions, embeddings = ["one"], np.float32([[1, 0]])
    store = [f"near {i}" for i in range(5)]
    angles = np.linspace(0.3, 0.5, 5)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    hits = np.zeros(5)
    for seed in range(3000):
        drawn = draw_contexts(captions, embeddings, store, vectors, count=2, band=(0.5, 0.99), seed=seed)
        hits[drawn[0]] += 1
    assert np.abs(hits / 3000 - 0.4).max() < 0.04  # four standard errors


def test_equal_texts_count_once_and_nobody_meets_itself() -> None:
    store = ["same", "same", "same", "me"]
    vectors = np.float32([[0.8, 0.6]] * 4)
    drawn = draw_contexts(["me"], np.float32([[1, 0]]), store, vectors, count=3, band=(0.75, 0.85), seed=0)
    assert sorted(drawn[0]) == [-1, -1, 0]


def test_no_datastore_gives_no_contexts() -> None:
    drawn = draw_contexts(CAPTIONS, EMBEDDINGS, [], np.empty((0, 4), np.float32), count=3, band=(0, 1), seed=0)
    assert (drawn == -1).all()


def test_two_claps_are_not_compared() -> None:
    with pytest.raises(OptionError, match="same CLAP"):
        draw_contexts(CAPTIONS, EMBEDDINGS, STORE, _unit(70, 1, dim=5), count=3, band=(0, 1), seed=0)


def test_the_golden_bands(shared_data: Path) -> None:
    directory = shared_data / "golden" / "drcap"
    if not directory.is_dir():
        pytest.skip("the golden DRCap cases are not beside this repository")
    cases = json.loads((directory / "band.json").read_text(encoding="utf-8"))["cases"]
    with np.load(directory / "band_inputs.npz", allow_pickle=False) as arrays:
        for case in cases:
            target, store = arrays[f"{case['name']}.target"], arrays[f"{case['name']}.db"]
            band = (case["sim_min"], case["sim_max"])
            found: list[list[int]] = [[] for _ in target]
            for rows, columns in band_pairs(target, store, band=band):
                for row, column in zip(rows, columns, strict=True):
                    found[row].append(int(column))
            assert found == case["candidates"], case["name"]
            # Where the released code kept several, ours keeps as many; where it lost a single one, ours keeps it.
            texts = [f"cap{i}" for i in range(len(store))]
            names = [f"target {i}" for i in range(len(target))]
            drawn = draw_contexts(names, target, texts, store, count=case["topn"], band=band, seed=0)
            for row, candidates in zip(drawn, case["candidates"], strict=True):
                assert set(row[row >= 0]) <= set(candidates)
                assert (row >= 0).sum() == min(case["topn"], len(candidates))
