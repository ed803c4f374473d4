from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.decoding.generate import _common_prefix, _compacted, _length_groups, generate, search
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.sequences import AUDIO_SLOT, fill_slots
from sonogloss.decoding.settings import DecodeSettings, Scoring
from sonogloss.errors import ModelFormatError, OptionError
from tests.decoding.test_parity import language_model
from tests.language_models import tiny_language_model

MODELS = {kind: tiny_language_model(kind) for kind in ("gpt2", "llama")}
prompt_lists = st.lists(st.lists(st.integers(3, 319), min_size=1, max_size=24), min_size=1, max_size=7)


def _with_slot(words: list[int]) -> list[int]:
    return [*words[: len(words) // 2], AUDIO_SLOT, *words[len(words) // 2 :]]


def _soft(clips: int, model: LanguageModel) -> torch.Tensor:
    return torch.randn(clips, 1, model.width, generator=torch.Generator().manual_seed(clips))


@contextmanager
def passes(model: LanguageModel) -> Iterator[list[tuple[str, int, int]]]:
    """What goes through the model meanwhile: kind of input, rows, tokens."""
    shapes: list[tuple[str, int, int]] = []

    def note(_: Any, __: Any, named: dict[str, Any]) -> None:
        kind = "input_ids" if "input_ids" in named else "inputs_embeds"
        shapes.append((kind, *named[kind].shape[:2]))

    hook = model.model.register_forward_pre_hook(note, with_kwargs=True)
    yield shapes
    hook.remove()


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("scoring", ["transformers", "average"])
@settings(deadline=None, max_examples=5, derandomize=True)
@given(
    words=prompt_lists,
    shared=st.lists(st.integers(3, 319), max_size=8),
    beams=st.integers(1, 4),
    batch_size=st.integers(1, 8),
    order=st.randoms(use_true_random=False),
)
def test_neighbors_and_order_do_not_change_a_caption(
    family: str,
    scoring: Scoring,
    words: list[list[int]],
    shared: list[int],
    beams: int,
    batch_size: int,
    order: Any,
) -> None:
    model = language_model(family)
    prompts = [_with_slot([*shared, *w]) for w in words]
    soft = _soft(len(prompts), model)
    one = DecodeSettings(num_beams=beams, max_new_tokens=8, batch_size=1, scoring=scoring)
    alone = [generate(model, [prompt], soft[i : i + 1], one)[0] for i, prompt in enumerate(prompts)]
    places = list(range(len(prompts)))
    order.shuffle(places)
    together = generate(model, [prompts[i] for i in places], soft[places], replace(one, batch_size=batch_size))
    assert together == [alone[i] for i in places]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("scoring", ["transformers", "average"])
def test_one_beam_is_the_best_token_again_and_again(kind: str, scoring: Scoring) -> None:
    model = MODELS[kind]
    prompts = [[5, AUDIO_SLOT, 9], [5, 6, 7, AUDIO_SLOT, 10, 11, 12]]
    soft = torch.randn(2, 1, model.width)
    found = generate(model, prompts, soft, DecodeSettings(num_beams=1, max_new_tokens=6, scoring=scoring))
    assert found == [_greedy(model, prompt, soft[i], 6) for i, prompt in enumerate(prompts)]


@torch.no_grad()
def _greedy(model: LanguageModel, prompt: list[int], soft: torch.Tensor, steps: int) -> list[int]:
    table = model.model.get_input_embeddings()
    slots = torch.tensor([prompt]) == AUDIO_SLOT
    vectors = fill_slots(table(torch.tensor([prompt]).clamp(min=0)), slots, soft[None])
    new: list[int] = []
    for _ in range(steps):
        token = int(model.model(inputs_embeds=vectors).logits[0, -1].argmax())
        if token == model.eos_id:
            break
        new.append(token)
        vectors = torch.cat([vectors, table(torch.tensor([[token]]))], dim=1)
    return new


def test_prompts_of_words_alone_need_no_soft_vectors() -> None:
    model = MODELS["gpt2"]
    prompts = [[5, 6, 7], [9]]
    none = torch.empty(2, 0, model.width)
    settings = DecodeSettings(num_beams=2, max_new_tokens=5)
    assert generate(model, prompts, None, settings) == generate(model, prompts, none, settings)


def test_no_prompts_give_no_captions() -> None:
    model = MODELS["gpt2"]
    assert generate(model, [], torch.empty(0, 1, model.width), DecodeSettings()) == []
    assert generate(model, [], None, DecodeSettings()) == []


def test_a_tokenizer_without_bos_and_pad_decodes() -> None:
    model = tiny_language_model(bos=False)
    assert (model.bos_id, model.pad_id) == (None, model.eos_id)
    prompts = [[AUDIO_SLOT, 5], [5, 6, 7, AUDIO_SLOT]]
    found = generate(model, prompts, torch.randn(2, 1, model.width), DecodeSettings(max_new_tokens=4))
    assert all(len(ids) <= 4 for ids in found)


@pytest.mark.parametrize("scoring", ["transformers", "average"])
def test_candidates_come_best_first_and_begin_with_the_caption(scoring: Scoring) -> None:
    model = language_model("gpt2")
    prompts = [[3 + i, 5 * i + 4, AUDIO_SLOT] for i in range(8)]
    soft = _soft(8, model)
    settings = DecodeSettings(num_beams=5, max_new_tokens=9, scoring=scoring)
    best = generate(model, prompts, soft, settings)
    for wanted in (1, 3, 5):
        for found, caption in zip(search(model, prompts, soft, settings, candidates=wanted), best, strict=True):
            scores = [candidate.score for candidate in found]
            assert len(found) == wanted
            assert scores == sorted(scores, reverse=True)
            assert scores[0] < 0
            assert found[0].ids == caption
            assert len({tuple(candidate.ids) for candidate in found}) == wanted


@torch.no_grad()
def test_a_score_is_the_mean_log_probability_of_a_caption_and_its_end() -> None:
    model = language_model("llama")
    prompt = [5, 6, 7]
    for scoring in ("transformers", "average"):
        settings = DecodeSettings(num_beams=3, max_new_tokens=9, scoring=scoring)
        for candidate in search(model, [prompt], None, settings, candidates=3)[0]:
            tokens = [*candidate.ids, model.eos_id][:9]
            whole = torch.tensor([[*prompt, *tokens]])
            log_probs = model.model(input_ids=whole).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            mean = log_probs.gather(1, torch.tensor(tokens)[:, None]).mean()
            assert candidate.score == pytest.approx(float(mean), abs=1e-4)


def test_a_common_prefix_is_computed_once_and_no_prompt_more_than_once() -> None:
    model = MODELS["llama"]
    shared = list(range(10, 30))
    prompts = [[*shared, 40 + i, AUDIO_SLOT, *range(50, 50 + i)] for i in range(1, 6)]
    with passes(model) as shapes:
        generate(model, prompts, _soft(5, model), DecodeSettings(num_beams=3, max_new_tokens=2, batch_size=5))
    read = [(rows, tokens) for kind, rows, tokens in shapes if kind == "inputs_embeds"]
    assert read[0] == (1, len(shared))
    least = sum(map(len, prompts)) - 4 * len(shared)
    assert least <= sum(rows * tokens for rows, tokens in read) <= least + 4 * len(prompts)


def test_finished_clips_leave_the_batch_and_no_batch_is_larger_than_asked() -> None:
    model = language_model("gpt2")
    prompts = [[3 + i, 5 * i + 4, AUDIO_SLOT] for i in range(20)]
    settings = DecodeSettings(num_beams=2, max_new_tokens=14, batch_size=8)
    with passes(model) as shapes:
        found = generate(model, prompts, _soft(20, model), settings)
    rows = [rows for kind, rows, _ in shapes if kind == "input_ids"]
    assert max(rows) <= 8
    assert min(rows) < 4
    longest = [len(found[i]) for i in range(20)]
    assert sum(rows) < sum(8 if start < 16 else 4 for start in range(0, 20, 8)) * max(longest)


@given(rows=st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=12), extra=st.integers(0, 3))
def test_rows_are_compacted_with_as_few_moves_as_can_be(rows: list[int | None], extra: int) -> None:
    active = [row for row, clip in enumerate(rows) if clip is not None]
    size = max(1, len(active)) + extra
    selected = _compacted(rows, size)
    assert len(selected) == min(size, len(rows))
    assert [row for row in sorted(selected) if rows[row] is not None] == active
    assert all(selected[row] == row for row in active if row < size)


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=20))
def test_groups_keep_the_order_and_pad_by_an_eighth_at_most(lengths: list[int]) -> None:
    prompts = [[5] * length for length in sorted(lengths)]
    groups = _length_groups(range(len(prompts)), prompts)
    assert [row for group in groups for row in group] == list(range(len(prompts)))
    for group in groups:
        shortest, longest = len(prompts[group[0]]), len(prompts[group[-1]])
        assert longest - shortest <= max(4, shortest // 8)


@given(
    shared=st.lists(st.integers(3, 9) | st.just(AUDIO_SLOT), max_size=9),
    rests=st.lists(st.lists(st.integers(3, 9), max_size=3), min_size=1, max_size=4),
)
def test_a_common_prefix_is_one_and_leaves_each_prompt_a_token(shared: list[int], rests: list[list[int]]) -> None:
    prompts = [[*shared, *rest] or [3] for rest in rests]
    prefix = _common_prefix(prompts)
    assert all(prompt[: len(prefix)] == prefix and len(prompt) > len(prefix) for prompt in prompts)
    assert AUDIO_SLOT not in prefix
    assert not prefix or len(prefix) >= 4
    words = shared[: shared.index(AUDIO_SLOT)] if AUDIO_SLOT in shared else shared
    if len(prompts) > 1 and len(words) >= 5:
        assert len(prefix) >= len(words) - 1


@pytest.mark.parametrize("scoring", ["transformers", "average"])
def test_soft_vectors_decide_a_caption_and_their_places_too(scoring: Scoring) -> None:
    model = MODELS["llama"]
    decode = DecodeSettings(num_beams=2, max_new_tokens=6, scoring=scoring)
    soft = torch.randn(1, 2, model.width, generator=torch.Generator().manual_seed(0))
    prompt = [5, AUDIO_SLOT, 6, AUDIO_SLOT, 7]
    scores = [
        search(model, [ids], vectors, decode)[0][0].score
        for ids, vectors in (
            (prompt, soft),
            (prompt, soft.flip(1)),
            ([AUDIO_SLOT, AUDIO_SLOT, 5, 6, 7], soft),
        )
    ]
    assert len({round(score, 4) for score in scores}) == 3


@pytest.mark.parametrize(
    ("prompts", "slots", "changes", "message"),
    [
        ([[5], []], None, {}, "Prompt 1 is empty"),
        ([[5, AUDIO_SLOT]], None, {}, "1 audio slots, the soft prompt 0"),
        ([[5]], 1, {}, "0 audio slots, the soft prompt 1"),
        ([[5] * 250], None, {}, "more than the language model's 256 positions"),
        ([[5]], None, {"num_beams": 161}, "only 320 tokens"),
    ],
)
def test_prompts_that_cannot_be_continued_are_named(
    prompts: list[list[int]], slots: int | None, changes: dict[str, Any], message: str
) -> None:
    model = MODELS["gpt2"]
    soft = None if slots is None else torch.zeros(len(prompts), slots, model.width)
    with pytest.raises(OptionError, match=message):
        generate(model, prompts, soft, replace(DecodeSettings(max_new_tokens=20), **changes))


def test_soft_vectors_of_another_width_and_too_many_candidates_are_refused() -> None:
    model = MODELS["gpt2"]
    with pytest.raises(OptionError, match="shape"):
        generate(model, [[AUDIO_SLOT]], torch.zeros(1, 1, 7), DecodeSettings(max_new_tokens=5))
    with pytest.raises(OptionError, match="5 candidates"):
        search(model, [[5]], None, DecodeSettings(max_new_tokens=5), candidates=5)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("scoring", ["transformers", "average"])
def test_answers_that_are_no_numbers_are_an_error_not_a_caption(beams: int, scoring: Scoring) -> None:
    model = tiny_language_model("gpt2")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[5] = torch.nan
    settings = DecodeSettings(num_beams=beams, max_new_tokens=4, scoring=scoring)
    with pytest.raises(ModelFormatError, match="NaN"):
        generate(model, [[6, 5, 7]], None, settings)


@pytest.mark.parametrize(
    "changes", [{"num_beams": 0}, {"max_new_tokens": 0}, {"scoring": "best"}, {"stop": "."}, {"stop": ("",)}]
)
def test_settings_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(changes))):
        DecodeSettings(**changes)


def test_settings_read_from_json_equal_those_that_were_written() -> None:
    assert DecodeSettings(stop=[".", "!"]) == DecodeSettings(stop=(".", "!"))  # type: ignore[arg-type]
