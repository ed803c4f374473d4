from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.tagging.scores import coarse_scores, fine_scores, label_loss, ranking_loss


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(extra=st.integers(0, 5), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_fine_score_ignores_padding(extra: int, seed: int) -> None:
    words, labels = noise(2, 4, 8, seed=seed), noise(3, 8, seed=seed + 1)
    mask = torch.ones(2, 4, dtype=torch.bool)
    padded = torch.cat([words, noise(2, extra, 8, seed=seed + 2)], dim=1)
    longer = torch.cat([mask, torch.zeros(2, extra, dtype=torch.bool)], dim=1)
    assert torch.allclose(fine_scores(padded, labels, longer), fine_scores(words, labels, mask), atol=1e-6)
    assert torch.allclose(fine_scores(words, labels, mask), fine_scores(words, labels), atol=1e-6)


def test_the_released_mask_does_not() -> None:
    words, labels = noise(1, 4, 8), noise(3, 8, seed=1)
    padded = torch.cat([words, noise(1, 3, 8, seed=2)], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    assert not torch.allclose(fine_scores(padded, labels, mask, compat=True), fine_scores(words, labels), atol=1e-3)


def test_a_row_of_padding_only_scores_nothing() -> None:
    scores = fine_scores(noise(2, 3, 8), noise(2, 8, seed=1), torch.tensor([[1, 1, 0], [0, 0, 0]]))
    assert torch.isfinite(scores).all()
    assert scores[1].tolist() == [0, 0]


def test_one_part_is_its_own_score_and_temperature_chooses_between_best_and_mean() -> None:
    words, labels = noise(2, 5, 8), noise(3, 8, seed=1)
    assert torch.allclose(fine_scores(words[:, :1], labels), coarse_scores(words[:, 0], labels), atol=1e-6)
    cosines = torch.stack([coarse_scores(part, labels) for part in words])
    assert torch.allclose(fine_scores(words, labels, temperature=1e-4), cosines.amax(dim=1), atol=1e-5)
    assert torch.allclose(fine_scores(words, labels, temperature=1e4), cosines.mean(dim=1), atol=1e-4)


def test_one_label_can_be_scored() -> None:
    """The released code fails on it."""
    assert fine_scores(noise(2, 5, 8), noise(1, 8, seed=1)).shape == (2, 1)


def test_the_ranking_loss_counts_pairs() -> None:
    scores = torch.tensor([[0.5, 0.1, 0.4]])
    # pairs (0,1): 1 - 5 * 0.4 < 0; (0,2): 1 - 5 * 0.1
    assert torch.isclose(ranking_loss(scores, torch.tensor([[1, 0, 0]])), torch.tensor(0.5))
    assert ranking_loss(scores, torch.tensor([[1, 1, 1]])) == 0
    assert ranking_loss(scores, torch.tensor([[0, 0, 0]])) == 0


def test_the_scale_of_the_cross_entropy_is_capped() -> None:
    scores, truth = noise(4, 3), torch.tensor([0, 1, 2, 0])
    assert label_loss(scores, truth, 1e6) == label_loss(scores, truth, 100.0)
    assert label_loss(scores, truth, 10.0) != label_loss(scores, truth, 100.0)
