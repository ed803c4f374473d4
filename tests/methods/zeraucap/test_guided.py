"""Guided search with random models: neither batches nor caches change a caption."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods.guided_text import TextMemo, candidate_texts, ending_tokens, finished_text
from sonogloss.methods.zeraucap import guided
from sonogloss.methods.zeraucap.guided import GuidedDecoder
from sonogloss.methods.zeraucap.guided_states import LanguageStates, State
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.records import FloatArray
from tests.language_models import tiny_language_model

DIM = 8


def embed_text(texts: Sequence[str]) -> FloatArray:
    """Something that differs between texts and never between calls."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") for text in texts]
    return np.stack([np.random.default_rng(seed).normal(size=DIM) for seed in seeds]).astype(np.float32)


@cache
def model(kind: str = "gpt2", *, bos: bool = True) -> LanguageModel:
    return tiny_language_model(kind, bos=bos)


def prompts_of(texts: Sequence[str], language_model: LanguageModel) -> list[list[int]]:
    return [language_model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def sounds(n: int, *, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


TEXTS = ("a dog barks", "the rain", "a dog barks", "a cat meows far away and an engine idles", "a bell", "a dog barks")


def decode(
    texts: Sequence[str], audio: FloatArray, *, kind: str = "gpt2", bos: bool = True, **numbers: Any
) -> list[list[int]]:
    memory = {name: numbers.pop(name) for name in ("language_memory", "text_memory") if name in numbers}
    search = GuidedSettings(**{"max_tokens": 40, "candidates": 12} | numbers)
    decoder = GuidedDecoder(model(kind, bos=bos), embed_text, search, **memory)
    return decoder.decode(prompts_of(texts, model(kind, bos=bos)), audio)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_a_batch_gives_what_each_clip_gives_alone(kind: str, alpha: float) -> None:
    audio = sounds(len(TEXTS))
    together = decode(TEXTS, audio, kind=kind, alpha=alpha, batch_size=64)
    assert decode(TEXTS, audio, kind=kind, alpha=alpha, batch_size=4) == together
    assert [decode([text], audio[[i]], kind=kind, alpha=alpha)[0] for i, text in enumerate(TEXTS)] == together
    assert len(set(map(tuple, together))) > 2


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1000),
    beta=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    gamma=st.sampled_from([0.0, 0.1, 0.5]),
    batch_size=st.integers(1, 7),
    compat=st.booleans(),
)
def test_caches_do_not_change_a_caption(seed: int, beta: float, gamma: float, batch_size: int, compat: bool) -> None:
    audio = sounds(len(TEXTS), seed=seed)
    numbers = {"beta": beta, "gamma": gamma, "compat": compat, "batch_size": batch_size}
    uncached = decode(TEXTS, audio, language_memory=0, text_memory=0, **numbers)
    decoder = GuidedDecoder(model(), embed_text, GuidedSettings(max_tokens=40, candidates=12, **numbers))
    prompts = prompts_of(TEXTS, model())
    assert decoder.decode(prompts, audio) == uncached
    rows, texts = decoder.states.rows, decoder.texts.encoded
    assert decoder.decode(prompts, audio) == uncached
    assert (decoder.states.rows, decoder.texts.encoded) == (rows, texts)  # nothing was computed again


def plain_search(
    language_model: LanguageModel, prompt: list[int], audio: FloatArray, search: GuidedSettings
) -> list[int]:
    """The published method: both models run on every candidate, without caches. Alpha 0."""
    ids, new, endings = list(prompt), [], ending_tokens(language_model.tokenizer)
    unit = audio / np.linalg.norm(audio)
    while len(ids) < search.max_tokens:
        with torch.inference_mode():
            best = language_model.model(torch.tensor([ids])).logits[0, -1].softmax(-1).topk(search.candidates)
        tops = best.indices.tolist()
        rows = embed_text(candidate_texts(language_model.tokenizer, new, tops, limit=search.text_tokens))
        cosines = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float64) @ unit
        fit = np.exp(search.kappa * cosines) / np.exp(search.kappa * cosines).sum()
        scores = best.values.numpy() + search.beta * fit
        scores = [s * search.gamma * len(new) if t in endings else s for t, s in zip(tops, scores, strict=True)]
        ids.append(tops[int(np.argmax(scores))])
        new.append(ids[-1])
        if new[-1] in endings:
            break
    return new


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("beta", [0.0, 0.2, 1.0])
def test_captions_are_those_of_the_published_search(kind: str, beta: float) -> None:
    """Beta 0 is greedy search with the end penalty; with guidance, candidates that cannot win are not embedded."""
    audio, search = sounds(len(TEXTS)), GuidedSettings(max_tokens=30, candidates=12, beta=beta)
    wanted = [
        plain_search(model(kind), prompt, row, search)
        for prompt, row in zip(prompts_of(TEXTS, model(kind)), audio, strict=True)
    ]
    assert decode(TEXTS, audio, kind=kind, max_tokens=30, beta=beta) == wanted


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1000), beta=st.sampled_from([0.003, 0.01, 0.03]), kappa=st.sampled_from([0.3, 3.0, 2000.0]))
def test_embedding_only_contenders_changes_no_caption(seed: int, beta: float, kappa: float) -> None:
    audio, prompts = sounds(len(TEXTS), seed=seed), prompts_of(TEXTS, model())
    numbers = GuidedSettings(max_tokens=30, candidates=12, beta=beta, kappa=kappa)
    found, encoded = [], []
    for few in (guided._FEW, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(guided, "_FEW", few)
            decoder = GuidedDecoder(model(), embed_text, numbers)
            found.append(decoder.decode(prompts, audio))
            encoded.append(decoder.texts.encoded)
    assert found[0] == found[1]
    assert encoded[0] <= encoded[1]


def test_few_contenders_of_a_sure_model_cost_few_texts() -> None:
    """Of two candidates that can win, one is ahead in probability and in cosine: the ten others are not embedded."""
    state = State(None, (0,))
    state.top_ids = np.arange(20, 32)
    state.probabilities = np.array([0.5, 0.4, *[0.005] * 10], np.float32)
    decoder = GuidedDecoder(model(), embed_text, GuidedSettings(candidates=12, beta=0.2, gamma=1.0))
    clip = guided._Clip(0, np.eye(DIM, dtype=np.float32)[0], state, step=3)
    scores = state.probabilities.astype(np.float64)
    contenders = decoder._contenders(clip, scores)
    assert contenders.tolist() == [0, 1]
    toward, away = np.eye(DIM, dtype=np.float32)[0], -np.eye(DIM, dtype=np.float32)[0]
    assert decoder._certain_winner(clip, scores, contenders, np.stack([toward, away])) == 0
    assert decoder._certain_winner(clip, scores, contenders, np.stack([away, toward])) is None  # now the others matter


def test_without_guidance_nothing_is_encoded_and_equal_prompts_are_computed_once() -> None:
    decoder = GuidedDecoder(model(), embed_text, GuidedSettings(max_tokens=40, candidates=12, beta=0))
    decoder.decode(prompts_of(["a bell"], model()), sounds(1))
    alone = decoder.states.rows
    decoder = GuidedDecoder(model(), embed_text, GuidedSettings(max_tokens=40, candidates=12, beta=0))
    decoder.decode(prompts_of(["a bell"] * 50, model()), sounds(50))
    assert decoder.states.rows == alone
    assert decoder.texts.encoded == 0


def test_continuations_of_many_clips_are_encoded_in_one_call_a_step() -> None:
    calls: list[int] = []

    def counted(texts: Sequence[str]) -> FloatArray:
        calls.append(len(texts))
        return embed_text(texts)

    search = GuidedSettings(max_tokens=20, candidates=12, beta=2.0)
    decoder = GuidedDecoder(model(), counted, search)
    ids = decoder.decode(prompts_of(TEXTS, model()), sounds(len(TEXTS)))
    assert len(calls) <= max(map(len, ids))
    assert max(calls) > search.candidates


def test_prompt_and_caption_keep_within_the_length() -> None:
    prompts = prompts_of(TEXTS, model())
    longest = max(map(len, prompts))
    for limit in (1, longest, longest + 3):
        ids = GuidedDecoder(model(), embed_text, GuidedSettings(max_tokens=limit, gamma=0.0)).decode(
            prompts, sounds(len(TEXTS))
        )
        assert [len(new) for new in ids] == [max(0, limit - len(prompt)) for prompt in prompts]


def test_a_caption_cannot_end_before_it_began() -> None:
    for new in decode(TEXTS, sounds(len(TEXTS)), beta=0.5):
        assert new[0] not in ending_tokens(model().tokenizer)


@pytest.mark.parametrize("bos", [True, False])
def test_marks_that_a_vocabulary_spells_apart_end_a_caption_without_their_blank(bos: bool) -> None:
    tokenizer = model(bos=bos).tokenizer
    spelled = {tokenizer.decode([token]).strip() for token in ending_tokens(tokenizer)}
    assert spelled == {".", "!", "?", "</s>"} | ({"<s>"} if bos else set())


def test_a_finished_caption_is_one_clean_line_up_to_its_end() -> None:
    tokenizer = model().tokenizer
    [ids] = prompts_of(["a dog barks , it 's\n a bell ."], model())
    assert finished_text(tokenizer, [*ids, tokenizer.eos_token_id, *ids]) == "a dog barks, it's a bell."


def test_the_memo_evicts_the_least_recently_used_texts() -> None:
    asked: list[str] = []

    def recorded(texts: Sequence[str]) -> FloatArray:
        asked.extend(texts)
        return embed_text(texts)

    memo = TextMemo(recorded, max_bytes=2 * DIM * 4)
    memo.embed([["a", "b"], ["a"]])
    memo.embed([["a"], ["c"]])
    assert asked == ["a", "b", "c"]
    [rows] = memo.embed([["a", "c", "b"]])
    assert asked == ["a", "b", "c", "b"]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_clips_without_prompts_are_refused() -> None:
    with pytest.raises(OptionError, match="one prompt a clip"):
        decode(["a dog"], sounds(2))


def test_a_model_without_keys_and_values_is_refused() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    mamba = MambaForCausalLM(MambaConfig(vocab_size=320, hidden_size=16, num_hidden_layers=1, state_size=4)).eval()
    with pytest.raises(ModelFormatError, match="keys and values"):
        GuidedDecoder(LanguageModel(model=mamba, tokenizer=model().tokenizer), embed_text, GuidedSettings())


@pytest.mark.parametrize(
    "wrong", [{"candidates": 0}, {"beta": -1.0}, {"kappa": float("nan")}, {"alpha": 1.5}, {"batch_size": 0}]
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        GuidedSettings(**wrong)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    paths=st.lists(st.lists(st.integers(3, 8), min_size=1, max_size=6).map(tuple), min_size=1, max_size=5, unique=True),
    max_bytes=st.sampled_from([0, 20_000, 1 << 30]),
    kind=st.sampled_from(["gpt2", "llama"]),
)
def test_every_state_of_the_tree_equals_the_whole_text_computed_anew(
    paths: list[tuple[int, ...]], max_bytes: int, kind: str
) -> None:
    states = LanguageStates(model(kind), candidates=9, hidden=True, max_bytes=max_bytes)
    nodes = [states.root([5, 6, 7, *path[:1]]) for path in paths]  # some prompts are equal
    for depth in range(7):
        states.read(nodes)
        for node in nodes:
            text = [token for part in node.path() for token in part.ids]
            with torch.inference_mode():
                output = model(kind).model(torch.tensor([text]), output_hidden_states=True)
            best = output.logits[0, -1].softmax(-1).topk(9)
            assert node.length == len(text)
            assert node.top_ids.tolist() == best.indices.tolist()
            np.testing.assert_allclose(node.probabilities, best.values, atol=1e-5)
            assert node.hidden is not None
            np.testing.assert_allclose(node.hidden[-1], output.hidden_states[-1][0, -1], atol=1e-4)
        nodes = [
            node.child(path[depth]) if depth < len(path) else node for node, path in zip(nodes, paths, strict=True)
        ]


def test_the_repetition_penalty_is_the_largest_cosine_with_an_earlier_state() -> None:
    states = LanguageStates(model(), candidates=5, hidden=True, max_bytes=1 << 30)
    node = states.root([5, 6, 7])
    states.read([node])
    node = node.child(11)
    states.read([node])
    found = states.weigh_repetition(node)
    for candidate, cosine in zip(node.top_ids.tolist(), found, strict=True):
        with torch.inference_mode():
            hidden = model().model(torch.tensor([[5, 6, 7, 11, candidate]]), output_hidden_states=True)
        rows = torch.nn.functional.normalize(hidden.hidden_states[-1][0], dim=-1)
        assert cosine == pytest.approx(float((rows[:-1] @ rows[-1]).max()), abs=1e-5)
    rows_before = states.rows
    assert states.weigh_repetition(node) is found
    assert states.rows == rows_before


def test_prompts_used_last_are_kept_and_the_others_recomputed() -> None:
    states = LanguageStates(model(), candidates=5, hidden=False, max_bytes=1 << 30)
    states.read([states.root([5, 6])])
    one = sum(states._bytes.values())
    states = LanguageStates(model(), candidates=5, hidden=False, max_bytes=2 * one)
    first, second = states.root([5, 6]), states.root([5, 7])
    states.read([first, second])
    states.read([states.root([5, 6]), states.root([5, 8])])  # [5, 7] was used longest ago
    assert states.root([5, 6]) is first
    assert states.root([5, 7]) is not second
    child = second.child(9)
    states.read([child])  # who still holds it can go on
    assert len(child.top_ids) == 5
