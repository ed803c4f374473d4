from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.metrics.evaluate import clip_texts
from sonogloss.metrics.novelty import known_trigrams, novel_trigrams
from sonogloss.metrics.sums import mean

CAPTIONS = st.lists(st.lists(st.sampled_from("abc"), max_size=7).map(" ".join), min_size=1, max_size=6)


def trigrams(text: str) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[at : at + 3]) for at in range(len(words) - 2)]


@given(CAPTIONS, CAPTIONS)
def test_counts_are_those_of_sets(captions: list[str], store: list[str]) -> None:
    known = {trigram for text in store for trigram in trigrams(text)}
    expected = [[sum(one not in known for one in trigrams(text)), len(trigrams(text))] for text in captions]
    clips = clip_texts(captions, [["x"]] * len(captions), "simple")
    blocks = [store[:1], store[1:]]
    assert novel_trigrams(clips, known_trigrams(blocks, "simple")).tolist() == expected


def test_a_corpus_is_the_share_of_its_trigrams_and_short_captions_have_none() -> None:
    clips = clip_texts(["a dog barks", "rain falls on a roof", "rain"], [["x"]] * 3, "simple")
    counts = novel_trigrams(clips, known_trigrams([["A dog barks!", "the rain falls on"]], "simple"))
    np.testing.assert_array_equal(mean(counts), [0, 2 / 3, np.nan])
    assert mean(counts.sum(axis=0)) == 0.5
