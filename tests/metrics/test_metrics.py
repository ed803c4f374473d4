from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import InputError, OptionError
from sonogloss.metrics import (
    REFERENCE_METRICS,
    CaptionStatistics,
    CorpusSum,
    corpus_rows,
    evaluate,
    score_clips,
)
from sonogloss.metrics.cider_d import document_frequencies, merge_frequencies
from sonogloss.metrics.diversity import merge_statistics
from sonogloss.metrics.evaluate import clip_texts, sum_clips

CAPTION_METRICS = (*REFERENCE_METRICS, "clap_sim", "self_bleu_4", "repeated_captions", "distinct_2")

sentences = st.lists(st.sampled_from(["a", "dog", "barks", "rain", "falls", "loudly"]), max_size=9).map(tuple)
clips = st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3))


def values(rows):
    return {row.metric: row.value for row in rows}


def test_published_example():
    # The README of aac-metrics states CIDEr-D 0.9614 for these two clips, 1.3641 and 0.5587 each.
    candidates = {"0": "a man is speaking", "1": "rain falls"}
    references = {
        "0": ["a man speaks.", "someone speaks.", "a man is speaking while a bird is chirping in the background"],
        "1": ["rain is falling hard on a surface"],
    }
    result = evaluate(candidates, references, metrics=["cider_d"])
    assert result.corpus[0].value == pytest.approx(0.9614, abs=5e-5)
    assert [c["cider_d"] for c in result.clips.values()] == pytest.approx([1.3641, 0.5587], abs=5e-5)


def test_the_same_words_score_one():
    result = evaluate(
        {"a": "a dog barks loudly", "b": "rain falls"}, {"a": ["a dog barks loudly"], "b": ["rain falls"]}
    )
    corpus = values(result.corpus)
    assert corpus["rouge_l"] == 1
    assert corpus["bleu_1"] == pytest.approx(1, abs=1e-8)
    assert corpus["bleu_4"] == pytest.approx(1, abs=1e-8)
    assert result.clips["a"]["cider_d"] == pytest.approx(10)


@given(st.lists(clips, min_size=2, max_size=8), st.data())
@settings(deadline=None, max_examples=50)
def test_pieces_give_the_corpus_that_the_whole_does(corpus, data):
    captions = {str(i): " ".join(candidate) for i, (candidate, _) in enumerate(corpus)}
    references = {str(i): [" ".join(text) for text in texts] for i, (_, texts) in enumerate(corpus)}
    scores = {str(i): 0.1 * i for i in range(1, len(corpus))}
    whole = evaluate(captions, references, metrics=CAPTION_METRICS, clap_scores=scores)
    texts = clip_texts(list(captions.values()), list(references.values()), "simple")
    cut = data.draw(st.integers(0, len(corpus)))
    pieces = [part for part in (slice(0, cut), slice(cut, None)) if texts[part]]
    words = [[clip.reference_words for clip in texts[part]] for part in pieces]
    frequencies = merge_frequencies([document_frequencies(each) for each in words])
    counted = merge_statistics([CaptionStatistics.of([clip.words for clip in texts[part]]) for part in pieces])
    found = [
        score_clips(
            texts[part],
            metrics=CAPTION_METRICS,
            frequencies=frequencies,
            captions=counted,
            clap_scores=np.array([np.nan, *scores.values()])[part],
        )
        for part in pieces
    ]
    summed = [sum_clips(each) for each in found]
    sums = {name: reduce(CorpusSum.merge, [each[name] for each in summed]) for name in found[0]}
    for row, expected in zip(corpus_rows(sums, metrics=CAPTION_METRICS, captions=counted), whole.corpus, strict=True):
        assert (row.metric, row.n) == (expected.metric, expected.n)
        assert row.value == pytest.approx(expected.value, abs=1e-12)


@given(st.lists(clips, min_size=1, max_size=8))
@settings(deadline=None, max_examples=50)
def test_ranges(corpus):
    candidates = {str(i): " ".join(c) for i, (c, _) in enumerate(corpus)}
    references = {str(i): [" ".join(r) for r in refs] for i, (_, refs) in enumerate(corpus)}
    result = evaluate(candidates, references)
    for scores in [*result.clips.values(), values(result.corpus)]:
        for metric, value in scores.items():
            assert 0 <= value <= (10 if metric == "cider_d" else 1) + 1e-9


def test_one_clip_has_no_cider():
    result = evaluate({"a": "rain falls"}, {"a": ["rain falls"]}, metrics=["cider_d"])
    assert values(result.corpus) == {"cider_d": 0.0}


@pytest.mark.parametrize(("caption", "reference"), [("", "a"), ("a", "."), ("", ".")])
def test_texts_without_words_score_nothing(caption, reference):
    result = evaluate({"0": caption, "1": "b"}, {"0": [reference], "1": ["b"]})
    assert result.clips["0"] == pytest.approx(dict.fromkeys(REFERENCE_METRICS, 0), abs=1e-5)


def test_keys_on_one_side_only_are_named():
    result = evaluate({"a": "x", "b": "y", "c": "z"}, {"a": ["x"], "b": [], "d": ["w"]}, metrics=["bleu_1"])
    assert list(result.clips) == ["a"]
    assert result.corpus[0].n == 1
    assert result.without_references == ["b", "c"]
    assert result.without_caption == ["d"]
    with pytest.raises(InputError, match="No clip has both"):
        evaluate({"a": "x"}, {"b": ["x"]})


def test_clap_sim_is_the_mean_over_the_clips_that_have_it():
    result = evaluate(
        {"a": "x", "b": "y"}, {"a": ["x"], "b": ["y"]}, metrics=["clap_sim", "rouge_l"], clap_scores={"a": 0.25}
    )
    assert [(row.metric, row.value, row.n) for row in result.corpus] == [("clap_sim", 0.25, 1), ("rouge_l", 1.0, 2)]
    assert "clap_sim" not in result.clips["b"]
    with pytest.raises(OptionError, match="clap_sim"):
        evaluate({"a": "x"}, {"a": ["x"]}, metrics=["clap_sim"])


@pytest.mark.parametrize("metrics", [[], ["spice"], ["bleu_1", "bleu_5"]])
def test_metrics_that_are_not_here_are_refused(metrics):
    with pytest.raises(OptionError, match="metric"):
        evaluate({"a": "x"}, {"a": ["x"]}, metrics=metrics)
