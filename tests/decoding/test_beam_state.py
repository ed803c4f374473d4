from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BloomConfig, BloomForCausalLM, GPTNeoConfig, GPTNeoForCausalLM, MambaConfig, MambaForCausalLM

from sonogloss.decoding.beam_state import BeamState, check_supported
from sonogloss.decoding.generate import generate
from sonogloss.decoding.language_model import load_language_model
from sonogloss.decoding.sequences import AUDIO_SLOT
from sonogloss.decoding.settings import DecodeSettings, Scoring
from sonogloss.errors import ModelFormatError
from tests.decoding.test_parity import CONFIGS, language_model


@pytest.mark.parametrize("family", CONFIGS)
@torch.no_grad()
def test_beams_of_one_row_get_the_logits_of_their_whole_sequences(family: str) -> None:
    model = language_model(family).model
    table = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(5)
    prompts = [torch.randint(3, 320, (length,), generator=generator) for length in (5, 6, 13)]
    state = BeamState(model, beams=3, longest=80).expand(3)
    state.prefill(
        [
            (table(torch.stack([torch.cat([torch.tensor([7]), prompts[0]]), prompts[1]])), torch.tensor([1, 0])),
            (table(prompts[2][None]), torch.tensor([0])),
        ]
    )
    texts: list[list[list[int]]] = [[[], [], []] for _ in prompts]
    rows = [0, 1, 2]
    for step in range(40):
        if step == 10:  # the second clip leaves, the third takes its place
            state.select([0, 2])
            rows = [0, 2]
        tokens = torch.randint(3, 320, (len(rows), 3), generator=generator)
        parents = torch.randint(0, 3, (len(rows), 3), generator=generator)
        logits = state.step(tokens, parents)
        for row, clip in enumerate(rows):
            texts[clip] = [
                [*texts[clip][parent], token]
                for parent, token in zip(parents[row].tolist(), tokens[row].tolist(), strict=True)
            ]
        if step in (0, 9, 10, 39):
            for row, clip in enumerate(rows):
                alone = torch.stack([torch.cat([prompts[clip], torch.tensor(words)]) for words in texts[clip]])
                expected = model(input_ids=alone, attention_mask=torch.ones_like(alone)).logits[:, -1]
                torch.testing.assert_close(logits[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    prefix=st.integers(0, 6),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    beams=st.integers(1, 3),
    steps=st.integers(1, 20),
    random=st.randoms(use_true_random=False),
)
@torch.no_grad()
def test_any_selection_of_clips_and_parents_equals_recomputation(
    family: str, prefix: int, lengths: list[int], beams: int, steps: int, random: Any
) -> None:
    model = language_model(family).model
    table = model.get_input_embeddings()
    start = [random.randrange(3, 320) for _ in range(prefix)]
    prompts = [[random.randrange(3, 320) for _ in range(length)] for length in sorted(lengths)]
    state = BeamState(model, beams=beams, longest=prefix + max(lengths) + steps)
    if start:
        state.prefill([(table(torch.tensor([start])), torch.tensor([0]))])
    state = state.expand(len(prompts))
    pads = [len(prompts[-1]) - len(prompt) for prompt in prompts]
    padded = torch.tensor([[7] * pad + prompt for pad, prompt in zip(pads, prompts, strict=True)])
    state.prefill([(table(padded), torch.tensor(pads))])
    texts = [[start + prompt] * beams for prompt in prompts]
    for _ in range(steps):
        if len(texts) > 1 and random.random() < 0.3:
            kept = sorted(random.sample(range(len(texts)), len(texts) - 1))
            state.select(kept)
            texts = [texts[row] for row in kept]
        tokens = [[random.randrange(3, 320) for _ in range(beams)] for _ in texts]
        parents = [[random.randrange(beams) for _ in range(beams)] for _ in texts]
        logits = state.step(torch.tensor(tokens), torch.tensor(parents))
        texts = [
            [[*rows[parent], token] for parent, token in zip(chosen, new, strict=True)]
            for rows, chosen, new in zip(texts, parents, tokens, strict=True)
        ]
    for row, whole in enumerate(texts):
        expected = model(input_ids=torch.tensor(whole)).logits[:, -1]
        torch.testing.assert_close(logits[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2)),
        MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4)),
        GPTNeoForCausalLM(
            GPTNeoConfig(
                vocab_size=64, hidden_size=32, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]]
            )
        ),
    ],
    ids=lambda model: model.config.model_type,
)
def test_models_with_their_own_positions_masks_or_state_are_refused(model: torch.nn.Module) -> None:
    with pytest.raises(ModelFormatError, match="Choose one of the Llama"):
        check_supported(model.eval())


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_families_of_captioners_are_accepted(family: str, dtype: torch.dtype) -> None:
    check_supported(deepcopy(language_model(family).model).to(dtype))


@pytest.mark.parametrize("family", ["gpt2", "mistral", "qwen2-sliding"])
@pytest.mark.parametrize("scoring", ["transformers", "average"])
def test_fixed_shapes_give_the_same_captions_from_few_shapes(family: str, scoring: Scoring) -> None:
    model = language_model(family)
    prompts = [[5, 6, 7, 8, 3 + i, AUDIO_SLOT, *range(9, 9 + i % 5)] for i in range(11)]
    soft = torch.randn(11, 1, model.width, generator=torch.Generator().manual_seed(4))
    decode = DecodeSettings(num_beams=3, max_new_tokens=14, batch_size=8, scoring=scoring)
    shapes = set()

    def step(**named: Any) -> Any:
        masks = named["attention_mask"]
        mask = masks if isinstance(masks, torch.Tensor) else masks["full_attention"]
        shapes.add((named["input_ids"].shape, mask.shape))
        return model.model(**named)

    assert generate(replace(model, compiled_forward=step), prompts, soft, decode) == generate(
        model, prompts, soft, decode
    )
    assert {entries for _, (*_, entries) in shapes} == {64 + 3 * 14}
    assert {rows for (rows, _), _ in shapes} <= {8, 4, 3, 2, 1}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_step_of_beams_is_one_graph_that_is_traced_once_a_shape(family: str) -> None:
    model = language_model(family)
    torch.compiler.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    step = torch.compile(model.model.forward, backend=backend, fullgraph=True, dynamic=False)
    prompts = [[5, 6, 7, 8, 3 + i] for i in range(3)]
    decode = DecodeSettings(num_beams=3, max_new_tokens=6, batch_size=1)
    traced = generate(replace(model, compiled_forward=step), prompts, None, decode)
    assert traced == generate(model, prompts, None, decode)
    assert len(graphs) == 1


@pytest.mark.gpu
def test_a_compiled_model_on_a_gpu_writes_the_captions_of_a_plain_one(tmp_path: Path) -> None:
    model = language_model("llama")
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    prompts = [[5, 6, 7, 8, 3 + i] for i in range(6)]
    decode = DecodeSettings(num_beams=3, max_new_tokens=14, batch_size=4)
    plain, compiled = (
        load_language_model(str(tmp_path), device="cuda", dtype="float32", compiled=compiled)
        for compiled in (False, True)
    )
    assert generate(compiled, prompts, None, decode) == generate(plain, prompts, None, decode)
