"""Accuracy and average precision: against counting by hand, and in pieces."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.metrics import RankedClips, TagCounts, average_precision, mean_average_precision

CLIPS = [("dog", {"dog"}), ("dog", {"cat"}), (None, {"cat"}), ("rain", {"rain", "wind"}), ("cat", {"cat"})]


def counted(clips: list[tuple[str | None, set[str]]]) -> TagCounts:
    counts = TagCounts()
    for best, true in clips:
        counts = counts.merge(TagCounts.of(best, true))
    return counts


def test_accuracy_and_its_table() -> None:
    counts = counted(CLIPS)
    assert (counts.clips, counts.accuracy) == (5, 3 / 5)
    assert counts.recall("cat") == pytest.approx(1 / 3)
    assert counts.recall("wind") == 0
    assert counts.recall("bird") is None
    assert counts.precision("dog") == 0.5
    assert counts.precision("wind") is None
    assert counts.confusion("cat") == ("dog", 1)
    assert counts.confusion("dog") is None
    assert math.isnan(TagCounts().accuracy)


@given(cut=st.integers(0, 5), order=st.permutations(CLIPS))
def test_counts_merge_in_any_order(cut: int, order: list[tuple[str | None, set[str]]]) -> None:
    assert counted(order[:cut]).merge(counted(order[cut:])) == counted(CLIPS)


LABELS = ["cat", "dog", "rain"]
tagged = st.lists(
    st.tuples(st.none() | st.sampled_from(LABELS), st.sets(st.sampled_from(LABELS), min_size=1)),
    min_size=1,
    max_size=12,
)


@given(tagged)
def test_the_table_is_what_one_counts_clip_by_clip(clips: list[tuple[str | None, set[str]]]) -> None:
    counts = counted(clips)
    assert counts.accuracy == sum(best in true for best, true in clips) / len(clips)
    for label in LABELS:
        having = [best for best, true in clips if label in true]
        naming = [true for best, true in clips if best == label]
        assert counts.recall(label) == (sum(best == label for best in having) / len(having) if having else None)
        assert counts.precision(label) == (sum(label in true for true in naming) / len(naming) if naming else None)
        wrong = [best for best, true in clips if label in true and best is not None and best not in true]
        expected = max(sorted(set(wrong)), key=wrong.count) if wrong else None
        assert counts.confusion(label) == (None if expected is None else (expected, wrong.count(expected)))


def by_hand(scores: list[float], true: list[bool]) -> float:
    """Precision at each threshold times what recall gains there."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [t for s, t in zip(scores, true, strict=True) if s >= threshold]
        gained = sum(chosen) / sum(true)
        total += (gained - recall) * sum(chosen) / len(chosen)
        recall = gained
    return total


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=200)
def test_average_precision_is_what_one_counts_by_hand(pairs: list[tuple[int, bool]]) -> None:
    scores, true = [score / 5 for score, _ in pairs], [t for _, t in pairs]
    found = average_precision(scores, true)
    if any(true):
        assert found == pytest.approx(by_hand(scores, true))
        random.Random(0).shuffle(pairs)
        half = len(pairs) // 2
        one, other = (
            RankedClips(scores=tuple(s / 5 for s, _ in part), true=tuple(t for _, t in part))
            for part in (pairs[:half], pairs[half:])
        )
        assert one.merge(other).average_precision == pytest.approx(found)
    else:
        assert found is None


def test_the_mean_is_over_labels_that_are_true_of_something() -> None:
    perfect = RankedClips(scores=(0.9, 0.1), true=(True, False))
    worst = RankedClips(scores=(0.1, 0.9), true=(True, False))
    never = RankedClips(scores=(0.5, 0.5), true=(False, False))
    assert mean_average_precision([perfect, worst, never]) == (0.75, 2)
    assert math.isnan(mean_average_precision([never])[0])


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20))
def test_only_the_order_of_scores_counts(pairs: list[tuple[int, bool]]) -> None:
    true = [t for _, t in pairs]
    plain = average_precision([score for score, _ in pairs], true)
    assert average_precision([7.5 * score - 100 for score, _ in pairs], true) == plain
    assert plain is None or 0 < plain <= 1


def test_clips_of_equal_score_cross_the_threshold_together() -> None:
    """A ranking that knows nothing scores the share of true clips, however the ties are listed."""
    for true in ([True, False, False, True], [False, True, True, False]):
        assert average_precision([0.5] * 4, true) == 0.5
    assert average_precision([0.9, 0.5, 0.5], [False, True, False]) == pytest.approx(1 / 3)
