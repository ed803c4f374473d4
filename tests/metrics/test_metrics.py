import pickle
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import InputError, OptionError
from sonogloss.metrics import (
    REFERENCE_METRICS,
    BleuCounts,
    CorpusStatistics,
    DocumentFrequencies,
    Mean,
    bleu,
    bleu_counts,
    cider_d,
    corpus_rows,
    document_frequencies,
    evaluate,
    rouge_l,
    score_clip,
)

CAPTION_METRICS = (*REFERENCE_METRICS, "clap_sim")

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


@given(st.lists(clips, min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_pieces_in_any_order_give_the_same_corpus(corpus, random):
    frequencies = reduce(DocumentFrequencies.merge, [document_frequencies([refs]) for _, refs in corpus])
    assert frequencies == document_frequencies([refs for _, refs in corpus])
    pieces = [
        score_clip(candidate, refs, metrics=CAPTION_METRICS, frequencies=frequencies, clap_score=0.1 * i)[1]
        for i, (candidate, refs) in enumerate(corpus)
    ]
    in_order = reduce(CorpusStatistics.merge, pieces, CorpusStatistics())
    random.shuffle(pieces)
    half = len(pieces) // 2
    halves = [reduce(CorpusStatistics.merge, part, CorpusStatistics()) for part in (pieces[:half], pieces[half:])]
    shuffled = halves[0].merge(halves[1])
    rows = corpus_rows(shuffled, metrics=CAPTION_METRICS)
    assert rows == corpus_rows(in_order, metrics=CAPTION_METRICS)
    assert pickle.loads(pickle.dumps(shuffled)) == shuffled


@given(st.lists(clips, min_size=1, max_size=8))
@settings(deadline=None, max_examples=50)
def test_ranges(corpus):
    candidates = {str(i): " ".join(c) for i, (c, _) in enumerate(corpus)}
    references = {str(i): [" ".join(r) for r in refs] for i, (_, refs) in enumerate(corpus)}
    result = evaluate(candidates, references)
    for scores in [*result.clips.values(), values(result.corpus)]:
        for metric, value in scores.items():
            assert 0 <= value <= (10 if metric == "cider_d" else 1) + 1e-9


def test_corpus_bleu_is_made_of_counts_not_of_means():
    counts = [bleu_counts(("a", "dog"), [("a", "dog")]), bleu_counts(("rain",), [("a", "storm", "rages")])]
    both = reduce(BleuCounts.merge, counts)
    assert both == BleuCounts(matches=(2, 1, 0, 0), guesses=(3, 1, 0, 0), candidate_length=3, reference_length=5)
    assert bleu(both)["bleu_1"] == pytest.approx(2 / 3 * np.exp(1 - 5 / 3))


def test_bleu_takes_the_closest_reference_length_and_the_shorter_of_two():
    assert bleu_counts(("a",) * 4, [("b",) * 3, ("b",) * 5, ("b",) * 9]).reference_length == 3
    assert bleu_counts(("a",) * 4, [("b",) * 6, ("b",) * 5]).reference_length == 5


def test_rouge_takes_precision_and_recall_from_different_references():
    candidate = ("a", "dog", "barks", "loudly")
    both = rouge_l(candidate, [("a", "dog", "barks", "at", "the", "loudly", "x"), ("dog",)])
    assert both == pytest.approx((1 + 1.44) * 1 * 1 / (1 + 1.44 * 1))


def test_one_clip_has_no_cider():
    result = evaluate({"a": "rain falls"}, {"a": ["rain falls"]}, metrics=["cider_d"])
    assert values(result.corpus) == {"cider_d": 0.0}


@pytest.mark.parametrize("words", [((), [("a",)]), (("a",), [()]), ((), [()])])
def test_texts_without_words_score_nothing(words):
    scores, _ = score_clip(*words, metrics=REFERENCE_METRICS, frequencies=document_frequencies([words[1], [("b",)]]))
    assert scores == pytest.approx(dict.fromkeys(REFERENCE_METRICS, 0), abs=1e-5)


def test_cider_punishes_a_difference_in_length():
    references = [[("rain", "falls", "hard")], [("a", "dog", "barks")]]
    frequencies = document_frequencies(references)
    exact = cider_d(("rain", "falls", "hard"), references[0], frequencies)
    repeated = cider_d(("rain", "falls", "hard") * 3, references[0], frequencies)
    assert repeated < exact


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


def test_a_mean_of_nothing_is_not_a_number():
    assert np.isnan(Mean().value)
