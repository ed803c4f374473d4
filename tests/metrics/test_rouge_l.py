"""ROUGE-L against subsequences that are enumerated one by one."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.metrics import rouge_l
from sonogloss.metrics.tokenize import Tokens

texts = st.lists(st.sampled_from("abcd"), max_size=8).map(tuple)


def subsequences(tokens: Tokens) -> set[Tokens]:
    return {part for length in range(len(tokens) + 1) for part in combinations(tokens, length)}


def slow_rouge_l(candidate: Tokens, references: list[Tokens]) -> float:
    """Lin 2004, equations 2 to 4 with beta = 1.2; the best precision and the best recall over the references."""
    precisions, recalls = [], []
    for reference in references:
        common = max(len(part) for part in subsequences(candidate) & subsequences(reference))
        precisions.append(common / len(candidate) if candidate else 0)
        recalls.append(common / len(reference) if reference else 0)
    precision, recall = max(precisions), max(recalls)
    if not precision or not recall:
        return 0.0
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


@given(texts, st.lists(texts, min_size=1, max_size=3))
@settings(deadline=None, max_examples=150)
def test_the_score_is_that_of_the_longest_common_subsequence(candidate: Tokens, references: list[Tokens]) -> None:
    assert rouge_l(candidate, references) == pytest.approx(slow_rouge_l(candidate, references), abs=1e-12)


@pytest.mark.parametrize(
    ("candidate", "reference", "common"),
    [
        ("police killed the gunman", "police kill the gunman", 3),  # Lin 2004, section 3.1
        ("the gunman kill police", "police kill the gunman", 2),
        ("the gunman police killed", "police kill the gunman", 2),
        ("b a", "a b", 1),
        ("a x b y c", "a b c", 3),
    ],
)
def test_words_must_stand_in_order_but_not_side_by_side(candidate: str, reference: str, common: int) -> None:
    own, other = tuple(candidate.split()), tuple(reference.split())
    precision, recall = common / len(own), common / len(other)
    expected = 2.44 * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(own, [other]) == pytest.approx(expected)


@given(texts.filter(len), st.lists(texts, max_size=3))
def test_a_reference_itself_scores_one_and_nothing_scores_more(text: Tokens, others: list[Tokens]) -> None:
    assert rouge_l(text, [*others, text]) == pytest.approx(1)
    assert 0 <= rouge_l(text, [*others, ("d",)]) <= 1


def test_recall_weighs_more_than_precision() -> None:
    reference = tuple("abcdefgh")
    half_of_it = rouge_l(tuple("abcd"), [reference])  # precision 1, recall 1/2
    all_and_as_much_else = rouge_l((*reference, *"zzzzzzzz"), [reference])  # precision 1/2, recall 1
    assert all_and_as_much_else > half_of_it
