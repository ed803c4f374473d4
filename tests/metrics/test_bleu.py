"""BLEU against n-grams counted by hand and against a slow implementation that follows the definition."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.metrics import evaluate
from sonogloss.metrics.bleu import bleu
from sonogloss.metrics.bleu import bleu_counts as counts_of_overlap
from sonogloss.metrics.overlap import find_overlap
from sonogloss.metrics.sums import Numbers
from sonogloss.metrics.tokenize import Tokens

WORDS = ["a", "dog", "barks", "rain", "falls", "on"]
texts = st.lists(st.sampled_from(WORDS), max_size=8).map(tuple)
clips = st.tuples(texts, st.lists(texts, min_size=1, max_size=4))


def words(text: str) -> Tokens:
    return tuple(text.split())


def bleu_counts(*clips: tuple[Tokens, list[Tokens]]) -> Numbers:
    """What each clip adds."""
    return counts_of_overlap(find_overlap([caption for caption, _ in clips], [texts for _, texts in clips]))


# -- a slow implementation, from the definition ------------------------------------------------------------------------


def grams(tokens: Tokens, n: int) -> list[Tokens]:
    return [tokens[i : i + n] for i in range(len(tokens) - n + 1)]


def clipped_matches(candidate: Tokens, references: list[Tokens], n: int) -> int:
    """Each n-gram of the candidate may be matched as often as it stands in the reference that has it most often."""
    total = 0
    for gram in set(grams(candidate, n)):
        allowed = max(grams(reference, n).count(gram) for reference in references)
        total += min(grams(candidate, n).count(gram), allowed)
    return total


def closest_length(candidate: Tokens, references: list[Tokens]) -> int:
    lengths = sorted(len(reference) for reference in references)  # the shorter of two equally close comes first
    return min(lengths, key=lambda length: abs(length - len(candidate)))


def corpus_bleu(corpus: list[tuple[Tokens, list[Tokens]]], order: int) -> float:
    """BLEU over a corpus with the two constants of the COCO evaluation."""
    length = sum(len(candidate) for candidate, _ in corpus)
    reference_length = sum(closest_length(candidate, references) for candidate, references in corpus)
    product = 1.0
    for n in range(1, order + 1):
        matches = sum(clipped_matches(candidate, references, n) for candidate, references in corpus)
        guesses = sum(len(grams(candidate, n)) for candidate, _ in corpus)
        product *= (matches + 1e-15) / (guesses + 1e-9)
    ratio = (length + 1e-15) / (reference_length + 1e-9)
    return product ** (1 / order) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1)


# -- tests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("candidate", "references", "matches", "guesses"),
    [
        # Papineni et al. 2002, example 2: "the" counts twice, as often as in the reference that has it most often.
        (
            "the the the the the the the",
            ["the cat is on the mat", "there is a cat on the mat"],
            (2, 0, 0, 0),
            (7, 6, 5, 4),
        ),
        ("a dog barks", ["a dog barks loudly"], (3, 2, 1, 0), (3, 2, 1, 0)),
        ("a dog a dog", ["a dog", "dog a"], (2, 2, 0, 0), (4, 3, 2, 1)),
        ("rain falls on a roof", ["a roof", "rain falls"], (4, 2, 0, 0), (5, 4, 3, 2)),
        ("rain", ["snow"], (0, 0, 0, 0), (1, 0, 0, 0)),
        ("", ["snow"], (0, 0, 0, 0), (0, 0, 0, 0)),
    ],
)
def test_matches_are_clipped_by_the_best_reference(
    candidate: str, references: list[str], matches: tuple[int, ...], guesses: tuple[int, ...]
) -> None:
    (counts,) = bleu_counts((words(candidate), [words(reference) for reference in references]))
    assert counts[:8].tolist() == [*matches, *guesses]


def test_one_clip_by_hand() -> None:
    """Four words of five that match, three of four pairs, two of three triples, one of two fours, five words of six."""
    (counts,) = bleu_counts((words("a dog barks loudly today"), [words("a dog barks loudly at night")]))
    brevity = math.exp(1 - 6 / 5)
    precisions = [4 / 5, 3 / 4, 2 / 3, 1 / 2]
    for order in (1, 2, 3, 4):
        expected = math.prod(precisions[:order]) ** (1 / order) * brevity
        assert bleu(counts, order) == pytest.approx(expected, abs=1e-8)


@given(clips)
@settings(max_examples=150)
def test_a_clip_scores_what_the_definition_says(clip: tuple[Tokens, list[Tokens]]) -> None:
    for order in (1, 2, 3, 4):
        assert bleu(bleu_counts(clip)[0], order) == pytest.approx(corpus_bleu([clip], order), rel=1e-12)


@given(st.lists(clips, min_size=1, max_size=8), st.integers(0, 9))
@settings(max_examples=100)
def test_a_corpus_scores_what_the_definition_says_in_any_order(
    corpus: list[tuple[Tokens, list[Tokens]]], seed: int
) -> None:
    shuffled = random.Random(seed).sample(corpus, len(corpus))
    total = bleu_counts(*shuffled).sum(axis=0)
    for order in (1, 2, 3, 4):
        assert bleu(total, order) == pytest.approx(corpus_bleu(corpus, order), rel=1e-12)


@given(st.lists(clips, min_size=1, max_size=8))
def test_clips_scored_together_score_what_they_do_alone(corpus: list[tuple[Tokens, list[Tokens]]]) -> None:
    assert np.array_equal(bleu_counts(*corpus), np.concatenate([bleu_counts(clip) for clip in corpus]))


def test_the_closest_length_counts_and_the_shorter_of_two() -> None:
    assert bleu_counts((("a",) * 4, [("b",) * 3, ("b",) * 5, ("b",) * 9]))[0, -1] == 3
    assert bleu_counts((("a",) * 4, [("b",) * 6, ("b",) * 5]))[0, -1] == 5


@given(clips)
def test_the_order_of_references_does_not_matter(clip: tuple[Tokens, list[Tokens]]) -> None:
    candidate, references = clip
    assert np.array_equal(bleu_counts((candidate, references)), bleu_counts((candidate, references[::-1])))


@given(texts.filter(len), st.lists(texts, max_size=3))
def test_a_candidate_that_is_a_reference_is_perfect_in_the_orders_it_has(text: Tokens, others: list[Tokens]) -> None:
    for order in range(1, min(4, len(text)) + 1):
        assert bleu(bleu_counts((text, [*others, text]))[0], order) == pytest.approx(1, abs=1e-7)


def test_a_corpus_is_not_the_mean_of_its_clips() -> None:
    captions = {"long": "rain falls on a tin roof at night", "short": "dog"}
    references = {"long": ["rain falls on a tin roof at night"], "short": ["a car passes"]}
    result = evaluate(captions, references, metrics=["bleu_1"])
    clip_scores = [values["bleu_1"] for values in result.clips.values()]
    assert clip_scores == pytest.approx([1, 0], abs=1e-6)
    # 8 of 9 words match; 9 words against references of 8 + 3.
    assert result.corpus[0].value == pytest.approx(8 / 9 * math.exp(1 - 11 / 9), abs=1e-8)
    assert result.corpus[0].value != pytest.approx(sum(clip_scores) / 2, abs=0.1)


def test_brevity_is_of_the_corpus_and_not_of_each_clip() -> None:
    """A clip that is too long makes up for one that is too short: lengths are summed before they are compared."""
    counts = bleu_counts((("a",), [("a", "b")]), (("a", "b", "c"), [("a", "b")]))
    assert bleu(counts[0], 1) == pytest.approx(math.exp(-1), abs=1e-8)
    assert bleu(counts.sum(axis=0), 1) == pytest.approx(3 / 4, abs=1e-8)
