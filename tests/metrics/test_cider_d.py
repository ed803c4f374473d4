"""CIDEr-D against a slow numpy implementation of its definition, and its parts one by one."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.metrics import DocumentFrequencies, evaluate
from sonogloss.metrics.cider_d import cider_d as cider_d_of_overlap
from sonogloss.metrics.cider_d import document_frequencies, frequent, merge_frequencies
from sonogloss.metrics.ngrams import count_ngrams
from sonogloss.metrics.overlap import find_overlap
from sonogloss.metrics.tokenize import Tokens

WORDS = ["a", "dog", "barks", "rain", "falls"]
texts = st.lists(st.sampled_from(WORDS), max_size=7).map(tuple)
references_of_clips = st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=5)


def grams(tokens: Tokens, n: int) -> list[Tokens]:
    return [tokens[i : i + n] for i in range(len(tokens) - n + 1)]


def cider_d(candidate: Tokens, references: list[Tokens], frequencies: DocumentFrequencies) -> float:
    return float(cider_d_of_overlap(find_overlap([candidate], [references]), frequencies)[0])


def slow_cider_d(candidate: Tokens, references: list[Tokens], corpus: list[list[Tokens]]) -> float:
    """Vedantam et al. 2015, equations 1 to 3 with the changes of CIDEr-D: dense vectors, one loop an equation."""
    total = 0.0
    for n in (1, 2, 3, 4):
        known = chain([candidate], references, *corpus)
        vocabulary = sorted({gram for text in known for gram in grams(text, n)})
        if not vocabulary:
            continue
        containing = [sum(any(gram in grams(text, n) for text in clip) for clip in corpus) for gram in vocabulary]
        idf = np.log(len(corpus)) - np.log(np.maximum(1, containing))

        def vector(text: Tokens) -> np.ndarray:
            return idf * np.array([grams(text, n).count(gram) for gram in vocabulary])  # noqa: B023  # used at once

        own = vector(candidate)
        for reference in references:
            theirs = vector(reference)
            norms = np.linalg.norm(own) * np.linalg.norm(theirs)
            gauss = np.exp(-((len(candidate) - len(reference)) ** 2) / (2 * 6.0**2))
            if norms:
                total += gauss * float(np.minimum(own, theirs) @ theirs) / norms
    return 10 * total / 4 / len(references)


@given(corpus=references_of_clips, candidate=texts, clip=st.integers(0, 4))
@settings(deadline=None, max_examples=150)
def test_a_clip_scores_what_the_definition_says(corpus: list[list[Tokens]], candidate: Tokens, clip: int) -> None:
    references = corpus[clip % len(corpus)]
    frequencies = document_frequencies(corpus)
    found = cider_d(candidate, references, frequencies)
    assert found == pytest.approx(slow_cider_d(candidate, references, corpus), abs=1e-9)
    assert cider_d(candidate, references, frequent(frequencies)) == found


@given(corpus=references_of_clips)
@settings(deadline=None)
def test_clips_scored_together_score_what_they_do_alone(corpus: list[list[Tokens]]) -> None:
    frequencies = document_frequencies(corpus)
    captions = [references[-1][::-1] for references in corpus]
    together = cider_d_of_overlap(find_overlap(captions, corpus), frequencies)
    alone = [cider_d(caption, clip, frequencies) for caption, clip in zip(captions, corpus, strict=True)]
    assert together == pytest.approx(alone, abs=1e-12)


def as_dict(frequencies: DocumentFrequencies) -> dict[int, int]:
    return dict(zip(frequencies.ngrams.tolist(), frequencies.counts.tolist(), strict=True))


@given(corpus=references_of_clips, cut=st.integers(0, 5))
def test_document_frequencies_are_counted_by_clip_and_merge(corpus: list[list[Tokens]], cut: int) -> None:
    whole = document_frequencies(corpus)
    assert whole.clips == len(corpus)
    expected = {}
    for gram in {gram for clip in corpus for text in clip for n in (1, 2, 3, 4) for gram in grams(text, n)}:
        digest = count_ngrams([gram]).ngrams[count_ngrams([gram]).orders == len(gram)].item()
        expected[digest] = sum(any(gram in grams(text, len(gram)) for text in clip) for clip in corpus)
    assert as_dict(whole) == expected
    halves = [document_frequencies(part) for part in (corpus[:cut], corpus[cut:])]
    for pieces in (halves, halves[::-1]):
        merged = merge_frequencies(pieces)
        assert (as_dict(merged), merged.clips) == (expected, len(corpus))
    assert as_dict(document_frequencies(corpus, [2] * len(corpus))) == {key: 2 * n for key, n in expected.items()}


def test_a_word_of_all_clips_weighs_nothing_and_a_rare_one_log_n() -> None:
    corpus = [[("a", "dog")], [("a", "cat")], [("a", "car")]]
    frequencies = document_frequencies(corpus)
    assert cider_d(("a",), corpus[0], frequencies) == 0
    # Of the unigrams only "dog" weighs anything (log 3), so the cosine is one; there are no longer n-grams in common.
    penalty = math.exp(-1 / 72)
    assert cider_d(("dog",), corpus[0], frequencies) == pytest.approx(10 / 4 * penalty)


def test_repeating_a_word_does_not_help() -> None:
    """The plain cosine would forgive it; CIDEr-D clips a candidate's weight by the reference's and punishes length."""
    corpus = [[("dog", "barks")], [("rain", "falls")]]
    frequencies = document_frequencies(corpus)
    scores = [cider_d(("dog",) * count + ("barks",), corpus[0], frequencies) for count in (1, 2, 3, 4)]
    assert scores == sorted(scores, reverse=True)
    # Unigrams only: weights (count, 1) clipped to (1, 1), over both norms; the bigram stays whole in one place.
    two = math.exp(-1 / 72) * ((1 + 1) / (math.sqrt(5) * math.sqrt(2)) + 1 / math.sqrt(1 + 1)) / 4 * 10
    assert scores[1] == pytest.approx(two)


@pytest.mark.parametrize("extra", [0, 1, 3, 6, 12])
def test_the_length_penalty_is_a_gaussian_of_six_words(extra: int) -> None:
    """Words that no reference of the corpus has keep their weight in the norm, so both effects are computed here."""
    corpus = [[("dog",)], [("rain",)]]
    candidate = ("dog", *(["zzz"] * extra))
    idf = math.log(2)
    norm = math.sqrt(idf**2 + (extra * idf) ** 2)
    expected = 10 / 4 * math.exp(-(extra**2) / 72) * idf * idf / (norm * idf)
    assert cider_d(candidate, corpus[0], document_frequencies(corpus)) == pytest.approx(expected)


@given(corpus=st.lists(st.lists(texts.filter(len), min_size=1, max_size=3), min_size=2, max_size=5), candidate=texts)
@settings(deadline=None)
def test_scores_lie_between_zero_and_ten(corpus: list[list[Tokens]], candidate: Tokens) -> None:
    frequencies = document_frequencies(corpus)
    for references in corpus:
        assert 0 <= cider_d(candidate, references, frequencies) <= 10 + 1e-9


def test_a_score_depends_on_the_corpus_it_stands_in() -> None:
    """What a score of a clip says is relative: the same pair, among clips like it or among others."""
    captions = {"a": "a dog barks", "b": "rain falls", "c": "a dog barks"}
    references = {"a": ["a dog barks loudly"], "b": ["rain falls hard"], "c": ["a dog barks far away"]}
    alone = evaluate({key: captions[key] for key in "ab"}, references, metrics=["cider_d"]).clips["a"]["cider_d"]
    among = evaluate(captions, references, metrics=["cider_d"]).clips["a"]["cider_d"]
    assert alone > among > 0
