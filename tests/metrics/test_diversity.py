"""Diversity against hand-computed values and a quadratic reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.metrics import CaptionStatistics, evaluate
from sonogloss.metrics.bleu import bleu, bleu_counts
from sonogloss.metrics.diversity import merge_statistics, repeats_ngram
from sonogloss.metrics.ngrams import count_ngrams
from sonogloss.metrics.overlap import find_overlap

CAPTION = st.lists(st.sampled_from("abc"), max_size=7).map(tuple)
CORPUS = st.lists(CAPTION, min_size=2, max_size=7)


def test_values_by_hand() -> None:
    captions = {"1": "a dog barks", "2": "A dog barks!", "3": "rain falls and rain falls and rain falls"}
    references = {key: ["rain on a roof"] for key in captions}
    names = ["distinct_1", "distinct_2", "repeated_captions", "repeated_trigrams"]
    vocabulary = ["vocab.cands", "vocab.mrefs_full", "vocab.ratio_full"]
    result = evaluate(captions, references, metrics=[*names, *vocabulary])
    assert {row.metric: row.value for row in result.corpus} == pytest.approx(
        {
            "distinct_1": 6 / 14,  # a dog barks rain falls and
            "distinct_2": 5 / 11,  # a-dog dog-barks rain-falls falls-and and-rain
            "repeated_captions": 2 / 3,
            "repeated_trigrams": 1 / 3,
            "vocab.cands": 6,
            "vocab.mrefs_full": 4,
            "vocab.ratio_full": 6 / 4,
        }
    )
    assert {row.n for row in result.corpus} == {3}
    assert result.clips["3"] == {"repeated_captions": 0.0, "repeated_trigrams": 1.0}


@given(CORPUS)
def test_self_bleu_is_bleu_against_all_others(captions: list[tuple[str, ...]]) -> None:
    statistics = CaptionStatistics.of(captions)
    others = [[*captions[:at], *captions[at + 1 :]] for at in range(len(captions))]
    expected = bleu(bleu_counts(find_overlap(captions, others)), 4)
    assert statistics.self_bleu(count_ngrams(captions)).tolist() == expected.tolist()
    repeated = [caption in rest for caption, rest in zip(captions, others, strict=True)]
    assert statistics.repeated(captions).tolist() == repeated


@given(CORPUS, CORPUS)
def test_statistics_merge(one: list[tuple[str, ...]], two: list[tuple[str, ...]]) -> None:
    pieces = [CaptionStatistics.of(one, [one]), CaptionStatistics.of(two, [two]), CaptionStatistics()]
    whole = CaptionStatistics.of([*one, *two], [one, two])
    for merged in (merge_statistics(pieces), merge_statistics(pieces[::-1])):
        assert merged.digests.tolist() == whole.digests.tolist()
        assert merged.kinds.tolist() == whole.kinds.tolist()
        of_captions = whole.kinds != 5  # how often a word occurs in references is not asked
        for name in ("counts", "largest", "second"):
            assert getattr(merged, name)[of_captions].tolist() == getattr(whole, name)[of_captions].tolist()
        assert merged.clips == len(one) + len(two)


def test_the_same_caption_everywhere_is_one_and_no_words_are_zero() -> None:
    same = CaptionStatistics.of([("rain", "falls", "on", "roofs")] * 3)
    assert same.self_bleu(count_ngrams([("rain", "falls", "on", "roofs")])) == pytest.approx([1])
    silent = CaptionStatistics.of([(), ()])
    assert (silent.distinct(1), silent.vocabulary, silent.vocabulary_ratio) == (0, 0, 0)
    assert silent.self_bleu(count_ngrams([()])).tolist() == [0]


@pytest.mark.parametrize(
    ("text", "repeats"),
    [("a a a", False), ("a a a a", True), ("x y z x y", False), ("x y z x y z", True), ("", False)],
)
def test_a_run_of_three_words_that_comes_again(text: str, repeats: bool) -> None:
    assert repeats_ngram(count_ngrams([("x",), tuple(text.split())])).tolist() == [0, repeats]
