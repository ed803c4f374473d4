from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sonogloss.decoding.generate import generate
from sonogloss.decoding.language_model import Int8Linear, load_language_model
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import OptionError
from tests.language_models import tiny_gpt2, tiny_llama, tiny_tokenizer


def test_a_weight_is_off_by_at_most_half_a_step_of_its_channel() -> None:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 6)[:, None]
    weight[2] = 0.0
    layer = Int8Linear(weight, torch.arange(6.0))
    found = layer(torch.eye(40)).T - torch.arange(6.0)[:, None]
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((found - weight).abs() <= step / 2 + 1e-4 * step + 1e-6).all()
    assert layer(torch.ones(2, 3, 40).bfloat16()).shape == (2, 3, 6)


@pytest.mark.parametrize("model", [tiny_gpt2(), tiny_llama()], ids=["gpt2", "llama"])
def test_eight_bits_take_a_quarter_of_the_linear_layers_and_say_nearly_the_same(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    tiny_tokenizer().save_pretrained(tmp_path)
    plain, small = (load_language_model(str(tmp_path), dtype=kind) for kind in ("float32", "int8"))
    layers = [module for module in small.model.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == {"gpt2": 8, "llama": 14}[small.model.config.model_type]
    assert all(layer.weight.dtype == torch.int8 for layer in layers)
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    with torch.no_grad():
        expected, found = (loaded.model(input_ids=ids).logits for loaded in (plain, small))
    assert torch.cosine_similarity(expected, found, dim=-1).min() > 0.99
    assert not torch.equal(expected, found)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16", "int8"])
def test_a_model_decodes_in_every_kind_of_weights(kind: str, tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path), dtype=kind)
    assert loaded.model.dtype == (torch.float32 if kind == "int8" else getattr(torch, kind))
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12]]
    found = generate(loaded, prompts, None, DecodeSettings(num_beams=3, max_new_tokens=6))
    assert all(1 <= len(ids) <= 6 for ids in found)


def test_unknown_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"'int4'.*int8"):
        load_language_model(str(tmp_path), dtype="int4")
