"""TNCE against a literal reading of its definition, pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sonogloss.temporal.config import TnceSettings
from sonogloss.temporal.losses import tnce, tnce_logits

weights = st.sampled_from([0.0, 0.3, 1.0, 2.5])


def brute_force(
    audio: np.ndarray, text: np.ndarray, blocks: int, chosen: TnceSettings, scale: float, also_true: np.ndarray
) -> float:
    """Both directions; alphas weigh terms of the denominator, beta rows of the mean, `also_true` removes terms."""
    rows, size = len(audio), len(audio) // blocks
    total = 0.0
    for queries, keys, excluded in ((text, audio, also_true.T), (audio, text, also_true)):
        weighted, norm = 0.0, 0.0
        for i in range(rows):
            denominator = 0.0
            for j in range(rows):
                if i != j and excluded[i, j]:
                    continue
                weight = 1.0
                if blocks == 3 and i // size != j // size:
                    weight = chosen.alpha_same if i % size == j % size else chosen.alpha_cross
                denominator += weight * math.exp(scale * float(queries[i] @ keys[j]))
            loss = math.log(denominator) - scale * float(queries[i] @ keys[i])
            row_weight = 1.0 if i < size else chosen.beta
            weighted, norm = weighted + row_weight * loss, norm + row_weight
        total += weighted / norm
    return chosen.weight * total


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.sampled_from([2, 3]),
    size=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    scale=st.floats(0.5, 10),
    alpha_same=weights,
    alpha_cross=weights,
    beta=weights,
    data=st.data(),
)
def test_the_loss_is_its_definition(
    blocks: int,
    size: int,
    seed: int,
    scale: float,
    alpha_same: float,
    alpha_cross: float,
    beta: float,
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(seed)
    rows = blocks * size
    audio, text = (functional.normalize(torch.from_numpy(rng.standard_normal((rows, 5))), dim=-1) for _ in range(2))
    meanings = data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    also_true = np.equal.outer(meanings, meanings)
    chosen = TnceSettings(alpha_same=alpha_same, alpha_cross=alpha_cross, beta=beta, weight=0.8)
    found = tnce(
        audio, text, blocks=blocks, settings=chosen, scale=scale, also_true=torch.from_numpy(also_true)
    )  # fmt: skip
    expected = brute_force(audio.numpy(), text.numpy(), blocks, chosen, scale, also_true)
    assert float(found) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(size=st.integers(1, 4), alpha_same=weights, alpha_cross=weights)
def test_only_off_diagonal_blocks_are_weighted(size: int, alpha_same: float, alpha_cross: float) -> None:
    rows = 3 * size
    chosen = TnceSettings(alpha_same=alpha_same, alpha_cross=alpha_cross)
    added = tnce_logits(torch.zeros(rows, rows), 3, chosen)
    for i in range(rows):
        for j in range(rows):
            weight = 1.0
            if i // size != j // size:
                weight = alpha_same if i % size == j % size else alpha_cross
            assert added[i, j].item() == pytest.approx(math.log(weight) if weight else -math.inf)


def test_a_released_zero_is_no_removal() -> None:
    added = tnce_logits(torch.zeros(6, 6), 3, TnceSettings(alpha_same=0, alpha_cross=0, released=True))
    assert added.min().item() == pytest.approx(math.log(1e-8), rel=1e-5)
    # A negative that is far nearer than the positive still costs; removed, it costs nothing.
    audio, text = torch.eye(3), 30 * torch.eye(3)[[1, 2, 0]]
    losses = [
        float(tnce(audio, text, blocks=3, settings=TnceSettings(alpha_same=0, alpha_cross=0, released=released)))
        for released in (True, False)
    ]
    assert losses[0] > 1.0
    assert losses[1] == 0.0


def test_permuting_the_groups_of_a_batch_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    audio, text = (functional.normalize(torch.randn(12, 6, generator=generator), dim=-1) for _ in range(2))
    chosen = TnceSettings(alpha_same=0.4, alpha_cross=0.8, beta=0.5)
    order = torch.randperm(4, generator=generator)
    moved = torch.cat([order + 4 * block for block in range(3)])
    plain = tnce(audio, text, blocks=3, settings=chosen, scale=5.0)
    assert torch.isclose(tnce(audio[moved], text[moved], blocks=3, settings=chosen, scale=5.0), plain)


def test_the_loss_prefers_texts_in_the_right_order() -> None:
    """Agreement costs least; with a large alpha_same a swapped order costs more than a swapped pair."""
    rows = torch.eye(6)
    swapped_orders = rows[[2, 3, 0, 1, 4, 5]]
    swapped_pairs = rows[[1, 0, 3, 2, 5, 4]]
    chosen = TnceSettings(alpha_same=4.0)
    losses = [float(tnce(rows, text, blocks=3, settings=chosen, scale=5.0)) for text in (rows, swapped_orders)]
    assert losses[0] < losses[1]
    pairs = float(tnce(rows, swapped_pairs, blocks=3, settings=chosen, scale=5.0))
    assert (losses[1] - losses[0]) / 4 > (pairs - losses[0]) / 6  # a row
