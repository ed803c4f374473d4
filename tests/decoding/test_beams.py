"""The two rules of beam search against their definitions, on tables of probabilities and on a tiny model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from sonogloss.decoding.beams import AverageBeams, Beams, TransformersBeams
from sonogloss.decoding.generate import search
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.settings import DecodeSettings, Scoring
from tests.decoding.references import Ids, by_average, by_transformers, every_caption
from tests.language_models import tiny_tokenizer

EOS = 2
RULES: dict[Scoring, type[Beams]] = {"transformers": TransformersBeams, "average": AverageBeams}
REFERENCES = {"transformers": by_transformers, "average": by_average}


class Table:
    """A language model whose next token depends on the last two tokens; `levels` makes few values, and so ties."""

    def __init__(self, seed: int, vocabulary: int, *, levels: int | None = None, end: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        logits = rng.normal(0, 2, (vocabulary + 1, vocabulary + 1, vocabulary))
        if levels is not None:
            logits = rng.integers(0, levels, logits.shape).astype(np.float64)
        logits[:, :, EOS] += end
        self.vocabulary = vocabulary
        self.logits = torch.from_numpy(logits).float()

    def of(self, ids: Sequence[int]) -> Tensor:
        before, last = [*[self.vocabulary] * 2, *ids][-2:]
        return self.logits[before, last]

    def log_probs(self, ids: Ids) -> list[float]:
        return list(self.of(ids).double().log_softmax(-1).tolist())


def ended(ids: Ids) -> bool:
    return ids[-1] == EOS


def stop(ids: Tensor, vocabulary: int) -> Tensor:
    return ids[..., -1] == EOS


Found = list[tuple[Ids, float]]


def run(
    rule: type[Beams],
    tables: Sequence[Table],
    *,
    beams: int,
    longest: int,
    wanted: int,
    order: Any = None,
    to_the_end: bool = False,
) -> tuple[list[Found], list[int]]:
    """Results and steps of every clip. `order` shuffles the rows at each step; `to_the_end` ignores what is decided."""
    found: list[Found] = [[] for _ in tables]
    steps = [0] * len(tables)
    state: Any = rule(
        clips=len(tables),
        beams=beams,
        longest=longest,
        wanted=wanted,
        stop=stop,
        device=torch.device("cpu"),  # type: ignore[arg-type]
    )
    clips, texts = list(range(len(tables))), [[()] for _ in tables]  # the clip of each row, and its beams' ids
    for step in range(1, longest + 1):
        state.advance(
            torch.stack(
                [torch.stack([tables[c].of(ids) for ids in rows]) for c, rows in zip(clips, texts, strict=True)]
            )
        )
        texts = [
            [(*rows[parent], token) for parent, token in zip(parents, tokens, strict=True)]
            for rows, parents, tokens in zip(texts, state.parents.tolist(), state.tokens.tolist(), strict=True)
        ]
        for row, clip in enumerate(clips):
            if state.done[row] and not (to_the_end and step < longest):
                [best] = state.best([row])
                found[clip], steps[clip] = [(tuple(ids), score) for ids, score in best], step
        going = [row for row, clip in enumerate(clips) if not steps[clip]]
        if order is not None:
            order.shuffle(going)
        if not going:
            break
        state.select(going)
        clips, texts = [clips[row] for row in going], [texts[row] for row in going]
    return found, steps


def equal(found: Found, wanted: Found) -> bool:
    return [ids for ids, _ in found] == [ids for ids, _ in wanted] and all(
        math.isclose(score, expected, abs_tol=1e-5) for (_, score), (_, expected) in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("scoring", RULES)
@settings(max_examples=60, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=5),
    beams=st.integers(2, 4),
    spare=st.integers(0, 3),
    longest=st.integers(1, 7),
    end=st.floats(-2, 4),
    order=st.randoms(use_true_random=False),
    data=st.data(),
)
def test_every_rule_is_what_its_definition_says(
    scoring: Scoring, seeds: list[int], beams: int, spare: int, longest: int, end: float, order: Any, data: Any
) -> None:
    tables = [Table(seed, 2 * beams + spare, end=end) for seed in seeds]
    wanted = data.draw(st.integers(1, beams))
    found, steps = run(RULES[scoring], tables, beams=beams, longest=longest, wanted=wanted, order=order)
    for table, captions in zip(tables, found, strict=True):
        expected = REFERENCES[scoring](table.log_probs, ended, table.vocabulary, longest, beams)
        assert equal(captions, expected[:wanted])
    assert all(1 <= step <= longest for step in steps)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), vocabulary=st.integers(3, 9), end=st.floats(-2, 4))
def test_with_a_beam_for_every_token_two_steps_miss_no_caption(seed: int, vocabulary: int, end: float) -> None:
    """Nothing is pruned after the first step, so the best of all captions must come out."""
    table = Table(seed, vocabulary, end=end)
    every = every_caption(table.log_probs, ended, vocabulary, 2)
    best = sorted(every.items(), key=lambda caption: caption[1], reverse=True)[:vocabulary]
    [found], _ = run(AverageBeams, [table], beams=vocabulary, longest=2, wanted=vocabulary)
    assert equal(found, best)


@pytest.mark.parametrize("scoring", RULES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), beams=st.integers(2, 3), longest=st.integers(1, 4), end=st.floats(-2, 4))
def test_a_score_is_that_of_the_enumerated_caption_and_none_beats_the_best(
    scoring: Scoring, seed: int, beams: int, longest: int, end: float
) -> None:
    table = Table(seed, 2 * beams, end=end)
    every = every_caption(table.log_probs, ended, table.vocabulary, longest)
    [found], _ = run(RULES[scoring], [table], beams=beams, longest=longest, wanted=beams)
    assert len({ids for ids, _ in found}) == len(found)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for ids, score in found:
        assert math.isclose(score, every[ids], abs_tol=1e-5)
    assert found[0][1] <= max(every.values()) + 1e-5


@pytest.mark.parametrize("wanted", [1, 2, 4])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), longest=st.integers(2, 9), end=st.floats(0, 5))
def test_stopping_early_changes_no_caption(wanted: int, seed: int, longest: int, end: float) -> None:
    table = Table(seed, 8, end=end)
    early, steps = run(AverageBeams, [table], beams=4, longest=longest, wanted=wanted)
    late, last = run(AverageBeams, [table], beams=4, longest=longest, wanted=wanted, to_the_end=True)
    assert last == [longest]
    assert equal(early[0], late[0])
    assert steps[0] <= longest


def test_a_search_does_stop_early() -> None:
    tables = [Table(seed, 8, end=4.0) for seed in range(30)]
    for rule in RULES.values():
        _, steps = run(rule, tables, beams=3, longest=40, wanted=1)
        assert max(steps) < 40
        assert len(set(steps)) > 2


@pytest.mark.parametrize("scoring", RULES)
@settings(max_examples=60, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 10**6), min_size=2, max_size=6),
    beams=st.integers(2, 4),
    longest=st.integers(1, 6),
    levels=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
)
def test_ties_break_alike_alone_and_in_a_batch(
    scoring: Scoring, seeds: list[int], beams: int, longest: int, levels: int, order: Any
) -> None:
    tables = [Table(seed, 2 * beams + 1, levels=levels) for seed in seeds]
    together, steps = run(RULES[scoring], tables, beams=beams, longest=longest, wanted=beams, order=order)
    for table, captions, step in zip(tables, together, steps, strict=True):
        [alone], [own] = run(RULES[scoring], [table], beams=beams, longest=longest, wanted=beams)
        assert (captions, step) == (alone, own)


@pytest.mark.parametrize("scoring", RULES)
def test_all_beams_of_equal_probability_are_different_captions(scoring: Scoring) -> None:
    table = Table(0, 8, levels=1, end=0.0)
    [found], _ = run(RULES[scoring], [table], beams=4, longest=3, wanted=4)
    assert len({ids for ids, _ in found}) == 4
    assert {round(score, 5) for _, score in found} == {round(math.log(1 / 8), 5)}


def test_a_mean_lets_a_long_caption_win_and_a_short_one_too() -> None:
    """By hand: an end of probability 0.5 at once, against one of 0.4 after a token of 0.9, and the reverse."""
    for first, last, winner in ((0.45, 0.9, (3, EOS)), (0.2, 0.2, (EOS,))):
        table = Table(0, 4)
        start = torch.tensor([1e-6, 1e-6, 0.5, first])
        after = torch.tensor([(1 - last) / 2, (1 - last) / 2, last, 1e-9])
        table.logits[:] = after.log()
        table.logits[4, 4] = (start / start.sum()).log()
        for rule in RULES.values():
            [[(ids, score), *_]], _ = run(rule, [table], beams=2, longest=3, wanted=1)
            assert ids == winner
            chances = [float(table.of(ids[:at]).softmax(-1)[token]) for at, token in enumerate(ids)]
            assert score == pytest.approx(sum(map(math.log, chances)) / len(chances), abs=1e-5)


VOCABULARY = 8


@cache
def tiny_model() -> LanguageModel:
    """Eight tokens, so that all captions can be enumerated; the tokenizer gives its special ids only."""
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=EOS
    )
    config.initializer_range = 0.6
    model = GPT2LMHeadModel(config).eval()
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(VOCABULARY))
    with torch.no_grad():
        model.lm_head.bias[EOS] = 1.5  # likely enough for captions of all lengths
    return LanguageModel(model=model, tokenizer=tiny_tokenizer())


@torch.no_grad()
def conditional(prompt: list[int], longest: int) -> dict[Ids, list[float]]:
    """Log-probabilities after every sequence of new tokens, each computed from the whole text without a cache."""
    known: dict[Ids, list[float]] = {}
    level: list[Ids] = [()]
    for _ in range(longest):
        texts = torch.tensor([[*prompt, *ids] for ids in level])
        rows = tiny_model().model(input_ids=texts).logits[:, -1].double().log_softmax(-1).tolist()
        known |= dict(zip(level, rows, strict=True))
        level = [(*ids, token) for ids in level for token in range(VOCABULARY)]
    return known


@pytest.mark.parametrize("scoring", RULES)
@pytest.mark.parametrize("beams", [2, 3, 4])
def test_a_models_captions_are_those_of_all_its_enumerated_sequences(scoring: Scoring, beams: int) -> None:
    longest = 4
    prompts = [[0, 3], [0, 5, 4, 7], [6], [0, 3, 3], [7, 7, 1, 4, 5, 6]]
    decode = DecodeSettings(num_beams=beams, max_new_tokens=longest, scoring=scoring, batch_size=3)
    found = search(tiny_model(), prompts, None, decode, candidates=beams)
    lengths = set()
    for prompt, candidates in zip(prompts, found, strict=True):
        known = conditional(prompt, longest)
        expected = REFERENCES[scoring](known.__getitem__, ended, VOCABULARY, longest, beams)
        every = every_caption(known.__getitem__, ended, VOCABULARY, longest)
        assert [candidate.ids for candidate in candidates] == [
            [token for token in ids if token != EOS] for ids, _ in expected
        ]
        for candidate, (ids, score) in zip(candidates, expected, strict=True):
            assert candidate.score == pytest.approx(score, abs=1e-5)
            assert every[ids] == pytest.approx(score, abs=1e-9)
            lengths.add(len(ids))
    assert len(lengths) > 1  # some end by themselves, others at the limit
