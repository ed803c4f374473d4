"""What is trained, and which models the loss is right for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sonogloss.errors import ModelFormatError
from sonogloss.methods.mapper import Mapper
from sonogloss.training.batches import collate
from sonogloss.training.objective import answer_losses, check_trunk, input_vectors, prepare
from tests.language_models import tiny_gpt2

from .conftest import NAMES, SHORT, drcap, soft_hard


@pytest.fixture
def parts() -> tuple[Any, Mapper, Any]:
    torch.manual_seed(0)
    return tiny_gpt2(), Mapper(8, 32, hidden=64), collate(drcap().at(0))


def test_a_model_that_scales_or_caps_its_logits_is_refused(parts: Any) -> None:
    """As Cohere and Gemma 2 do; computed from the trunk alone their loss would be silently wrong."""
    model, mapper, batch = parts
    check_trunk(model, mapper, batch)
    forward = model.forward

    def scaled(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.logits = output.logits * 0.0625
        return output

    def capped(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.logits = 0.5 * torch.tanh(output.logits / 0.5)
        return output

    for changed in (scaled, capped):
        model.forward = changed
        with pytest.raises(ModelFormatError, match="GPT2LMHeadModel are not its last states"):
            check_trunk(model, mapper, batch)


def test_the_check_leaves_the_model_in_training_mode_without_gradients(parts: Any) -> None:
    model, mapper, batch = parts
    model.train()
    check_trunk(model, mapper, batch)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("tune", "share"), [("all", "all"), ("none", "none"), ("lora", "adapter")])
def test_what_is_tuned_is_trainable_and_nothing_else(tune: Any, share: str) -> None:
    model = prepare(tiny_gpt2(), replace(SHORT, tune=tune))
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names = {name for name, _ in model.named_parameters()}
    expected = {"all": names, "none": set(), "adapter": {name for name in names if "lora_" in name}}[share]
    assert trainable == expected
    assert (share == "adapter") <= bool(expected)


def test_audio_slots_get_the_mapped_embedding_and_words_their_own(parts: Any) -> None:
    model, mapper, batch = parts
    vectors = input_vectors(model, mapper, batch)
    mapped = mapper(batch.embeddings)
    words = model.get_input_embeddings().weight
    for row in range(len(batch.ids)):
        slot = 0
        for place in range(batch.ids.shape[1]):
            if batch.slots[row, place]:
                assert torch.equal(vectors[row, place], mapped[row].reshape(-1, 32)[slot])
                slot += 1
            else:
                assert torch.equal(vectors[row, place], words[batch.ids[row, place]])
        assert slot == 1


def test_padding_and_batch_neighbours_change_no_loss() -> None:
    """A row alone has the losses that it has beside longer ones."""
    torch.manual_seed(0)
    source = drcap()
    model, mapper = tiny_gpt2().eval(), Mapper(8, 32, hidden=64)
    examples = source.at(0)
    together = answer_losses(model, mapper, collate(examples))
    alone = [answer_losses(model, mapper, collate(examples.part(row, len(examples.sequences)))) for row in range(4)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_half_precision_losses_are_float32_and_close(parts: Any) -> None:
    model, mapper, batch = parts
    model.eval()
    exact = answer_losses(model, mapper, batch)
    half = answer_losses(model, mapper, batch, precision="bfloat16")
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    assert torch.allclose(half, exact, atol=0.1)


def test_a_prompt_without_slots_needs_no_mapper() -> None:
    model = tiny_gpt2().eval()
    batch = collate(soft_hard(prompt=replace(NAMES, soft=False)).at(0))
    assert not batch.slots.any()
    losses = answer_losses(model, None, batch)
    logits = model(batch.ids).logits.flatten(0, 1)[batch.positions]
    assert torch.allclose(losses, torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none"), atol=1e-5)
