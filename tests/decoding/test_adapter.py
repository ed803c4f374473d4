from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from sonogloss.decoding.adapter import attach_adapter
from sonogloss.errors import OptionError
from tests.language_models import FAMILIES, tiny_gpt2, tiny_llama, tiny_model

IDS = torch.tensor([[3, 4, 5, 6]])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_adapter_changes_nothing_and_learns_alone(family: str) -> None:
    with torch.no_grad():
        expected = tiny_model(family)(input_ids=IDS).logits
    adapted = attach_adapter(tiny_model(family), rank=2, alpha=4, dropout=0.5)
    with torch.no_grad():
        assert torch.equal(adapted.eval()(input_ids=IDS).logits, expected)
    learning = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert learning
    assert all("lora_" in name for name in learning)
    parts = {name.split(".lora_")[0].rpartition(".")[2] for name in learning}
    assert parts in ({"q_proj", "v_proj"}, {"c_attn"})


@pytest.mark.parametrize("model", [tiny_gpt2, tiny_llama])
@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (2, 8)])
def test_an_adapter_adds_its_product_scaled_by_alpha_over_rank(
    model: type[PreTrainedModel], rank: int, alpha: int
) -> None:
    """GPT-2 keeps its weights transposed."""
    adapted = attach_adapter(model(), rank=rank, alpha=alpha, dropout=0.0).eval()  # type: ignore[call-arg]
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    name, layer = next((n, m) for n, m in adapted.named_modules() if hasattr(m, "lora_A") and hasattr(m, "base_layer"))
    width = layer.lora_A["default"].weight.shape[1]
    inputs = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        added = layer(inputs) - layer.base_layer(inputs)
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        torch.testing.assert_close(added, inputs @ a.T @ b.T * alpha / rank, rtol=1e-4, atol=1e-4), name


def test_modules_are_adapted_by_name() -> None:
    adapted = attach_adapter(tiny_llama(), rank=2, alpha=4, dropout=0.0, targets=["gate_proj", "o_proj"])
    assert {n.split(".lora_A")[0].rpartition(".")[2] for n, _ in adapted.named_parameters() if ".lora_A" in n} == {
        "gate_proj",
        "o_proj",
    }


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(OptionError, match="has nothing called nothing") as caught:
        attach_adapter(tiny_llama(), rank=2, alpha=4, dropout=0.0, targets=["q_proj", "nothing"])
    assert "q_proj" in caught.value.remedy


def test_the_tied_output_layer_cannot_be_adapted() -> None:
    """Merging an adapter into it would change the input embeddings too."""
    with pytest.raises(OptionError, match="lm_head") as caught:
        attach_adapter(tiny_gpt2(), rank=2, alpha=4, dropout=0.0, targets=["lm_head"])
    assert "lm_head" not in caught.value.remedy


def test_a_family_with_other_names_must_name_its_modules() -> None:
    model = tiny_llama()
    for layer in model.model.layers:
        for name in ("q_proj", "v_proj"):
            setattr(layer.self_attn, f"my_{name}", layer.self_attn._modules.pop(name))
    with pytest.raises(OptionError, match="unknown names") as caught:
        attach_adapter(model, rank=2, alpha=4, dropout=0.0)
    assert "my_q_proj" in caught.value.remedy
