"""Diversity against hand-computed values and a quadratic reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.metrics import CaptionStatistics, bleu, bleu_counts, evaluate
from sonogloss.metrics.diversity import repeats_ngram

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
    for at, caption in enumerate(captions):
        others = [*captions[:at], *captions[at + 1 :]]
        expected = bleu(bleu_counts(caption, others))["bleu_4"]
        assert statistics.self_bleu(caption) == expected
        assert statistics.is_repeated(caption) == (caption in others)


@given(CORPUS, CORPUS)
def test_statistics_merge(one: list[tuple[str, ...]], two: list[tuple[str, ...]]) -> None:
    merged = CaptionStatistics.of(one, [one]).merge(CaptionStatistics.of(two, [two]))
    assert merged == CaptionStatistics.of([*one, *two], [one, two])
    assert merged == CaptionStatistics.of(two, [two]).merge(CaptionStatistics.of(one, [one]))
    assert merged.merge(CaptionStatistics()) == merged
    assert merged.clips == len(one) + len(two)


def test_the_same_caption_everywhere_is_one_and_no_words_are_zero() -> None:
    same = CaptionStatistics.of([("rain", "falls", "on", "roofs")] * 3)
    assert same.self_bleu(("rain", "falls", "on", "roofs")) == pytest.approx(1)
    silent = CaptionStatistics.of([(), ()])
    assert (silent.distinct(1), silent.vocabulary, silent.vocabulary_ratio, silent.self_bleu(())) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "repeats"),
    [("a a a", False), ("a a a a", True), ("x y z x y", False), ("x y z x y z", True), ("", False)],
)
def test_a_run_of_three_words_that_comes_again(text: str, repeats: bool) -> None:
    assert repeats_ngram(tuple(text.split())) == repeats
