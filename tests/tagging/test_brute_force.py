"""Scores and losses of prompt tuning against plain loops over their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.tagging.config import TuningConfig
from sonogloss.tagging.features import TextFeatures, gather, split
from sonogloss.tagging.scores import coarse_scores, fine_scores, label_loss, ranking_loss
from sonogloss.tagging.texts import LabelledTexts

seeds = st.integers(0, 2**31)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@settings(deadline=None)
@given(seed=seeds, n=st.integers(1, 4), labels=st.integers(1, 4))
def test_coarse_scores_are_cosines(seed: int, n: int, labels: int) -> None:
    wholes, names = noise(seed, n, 5), noise(seed + 1, labels, 5)
    found = coarse_scores(torch.from_numpy(wholes), torch.from_numpy(names))
    expected = [[cosine(whole, name) for name in names] for whole in wholes]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


@settings(deadline=None)
@given(
    seed=seeds,
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    labels=st.integers(1, 3),
    temperature=st.floats(0.02, 5),
)
def test_fine_scores_weigh_parts_by_their_own_softmax(
    seed: int, lengths: list[int], labels: int, temperature: float
) -> None:
    names, longest = noise(seed + 1, labels, 4), max([*lengths, 1])
    parts, mask = noise(seed, len(lengths), longest, 4), np.zeros((len(lengths), longest), bool)
    for row, length in enumerate(lengths):
        mask[row, :length] = True
    found = fine_scores(*map(torch.from_numpy, (parts, names, mask)), temperature=temperature)
    for row, length in enumerate(lengths):
        for label in range(labels):
            cosines = [cosine(parts[row, place], names[label]) for place in range(length)]
            weights = [math.exp(value / temperature) for value in cosines]
            expected = sum(w * c for w, c in zip(weights, cosines, strict=True)) / sum(weights) if length else 0.0
            assert found[row, label].item() == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(seed=seeds, n=st.integers(1, 5), labels=st.integers(2, 5), scale=st.floats(0.1, 200))
def test_the_label_loss_is_the_mean_negative_log_likelihood(seed: int, n: int, labels: int, scale: float) -> None:
    scores = noise(seed, n, labels)
    truth = np.random.default_rng(seed).integers(0, labels, n)
    losses = []
    for row, right in zip(min(scale, 100.0) * scores, truth, strict=True):
        losses.append(np.log(np.exp(row - row.max()).sum()) - (row[right] - row.max()))
    found = label_loss(torch.from_numpy(scores), torch.from_numpy(truth), scale)
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(seed=seeds, truth=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_ranking_loss_is_a_hinge_on_every_pair(seed: int, truth: list[list[bool]]) -> None:
    scores = noise(seed, len(truth), 3)
    expected = 0.0
    for row, right in zip(scores, truth, strict=True):
        for i in range(3):
            for j in range(3):
                if right[i] and not right[j]:
                    expected += max(0.0, 1.0 - 5.0 * (row[i] - row[j]))
    found = ranking_loss(torch.from_numpy(scores), torch.tensor(truth))
    assert found.item() == pytest.approx(expected / len(truth), rel=1e-9, abs=1e-9)


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=5), seed=seeds)
def test_gathered_words_are_the_words_and_padding_is_masked(counts: list[int], seed: int) -> None:
    words = [noise(seed + row, count, 3).astype(np.float32) for row, count in enumerate(counts)]
    parts, mask = gather(words)
    assert parts.shape == (len(counts), max(counts), 3)
    assert mask.sum(axis=1).tolist() == counts
    for row, own in enumerate(words):
        assert np.array_equal(parts[row][mask[row]], own)
        assert (parts[row][~mask[row]] == 0).all()


def features(texts: int = 6, labels: int = 3, dim: int = 8) -> TextFeatures:
    rng = np.random.default_rng(0)
    truth = np.eye(labels, dtype=bool)[np.arange(texts) % labels]
    words = [rng.standard_normal((1 + row % 4, dim)).astype(np.float32) for row in range(texts)]
    return TextFeatures(sentences=rng.standard_normal((texts, dim)).astype(np.float32), words=words, truth=truth)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_loss_is_that_of_the_sentence_plus_that_of_the_words(multi_label: bool) -> None:
    made, config = features(), TuningConfig(multi_label=multi_label)
    labels = tuple(torch.from_numpy(noise(seed, 3, 8).astype(np.float32)) for seed in (1, 2))
    rows = [4, 0, 5]
    loss, scores = made.loss(rows, labels, config, 10.0)  # type: ignore[arg-type]
    coarse = coarse_scores(torch.from_numpy(made.sentences[rows]), labels[0])
    fine = torch.cat([fine_scores(torch.from_numpy(made.words[row])[None], labels[1], temperature=0.1) for row in rows])
    truth = torch.from_numpy(made.truth[rows])
    if multi_label:
        expected = ranking_loss(coarse, truth) + ranking_loss(fine, truth)
    else:
        expected = label_loss(coarse, truth.int().argmax(1), 10.0) + label_loss(fine, truth.int().argmax(1), 10.0)
    assert torch.allclose(loss, expected, atol=1e-5)
    assert torch.allclose(scores, coarse + fine, atol=1e-6)


def test_noise_is_a_function_of_its_generator_and_of_the_wanted_cosine() -> None:
    made = features(texts=300, dim=64)
    labels = tuple(torch.from_numpy(noise(seed, 3, 64).astype(np.float32)) for seed in (1, 2))
    rows = list(range(300))

    def scores(config: TuningConfig, seed: int | None) -> torch.Tensor:
        rng = None if seed is None else np.random.default_rng(seed)
        return made.loss(rows, labels, config, 1.0, rng)[1]  # type: ignore[arg-type]

    noisy = TuningConfig(noise_cosine=0.5)
    assert torch.equal(scores(noisy, 1), scores(noisy, 1))
    assert not torch.allclose(scores(noisy, 1), scores(noisy, 2), atol=1e-2)
    clean = scores(noisy, None)
    far, near = (
        (scores(TuningConfig(noise_cosine=value), 1) - clean).abs().mean() for value in (0.5, 0.99)
    )  # fmt: skip
    assert far > 3 * near > 0


@settings(deadline=None)
@given(counts=st.lists(st.integers(0, 30), min_size=2, max_size=5), share=st.floats(0.05, 0.9), seed=st.integers(0, 99))
def test_a_split_holds_out_the_share_of_every_label(counts: list[int], share: float, seed: int) -> None:
    firsts = [label for label, count in enumerate(counts) for _ in range(count)]
    truth = np.zeros((len(firsts), len(counts)), bool)
    for row, label in enumerate(firsts):
        truth[row, label:] = True  # the first true label decides
    made = LabelledTexts(labels=tuple(map(str, range(len(counts)))), texts=tuple(map(str, firsts)), truth=truth)
    config = TuningConfig(held_out=share, seed=seed)
    wanted = [round(share * count) for count in counts]
    if sum(wanted) in (0, len(firsts)):
        with pytest.raises(Exception, match="too few"):
            split(made, config)
        return
    train, held_out = split(made, config)
    assert sorted([*train, *held_out]) == list(range(len(firsts)))
    assert [sum(firsts[row] == label for row in held_out) for label in range(len(counts))] == wanted
    assert (train, held_out) == split(made, config)
