"""Language models of any family learn, are saved, loaded again by their directory, and give the same outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sonogloss.decoding.language_model import load_language_model
from tests.language_models import FAMILIES, tiny_model

from .conftest import SHORT, TOKENIZER, run

IDS = torch.arange(3, 60).reshape(3, 19)
ADAPTED = {
    "gpt2": {"c_attn"},
    "opt": {"q_proj", "v_proj"},
    "llama": {"q_proj", "v_proj"},
    "mistral": {"q_proj", "v_proj"},
    "qwen2": {"q_proj", "v_proj"},
}


def base(family: str, directory: Path) -> Any:
    """A model on disk, as a user has it, and loaded."""
    tiny_model(family).save_pretrained(directory)
    TOKENIZER.save_pretrained(directory)
    return load_language_model(str(directory)).model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tune", ["all", "lora"])
def test_a_family_learns_and_comes_back_from_disk(tmp_path: Path, family: str, tune: Any) -> None:
    model = base(family, tmp_path / "base")
    with torch.no_grad():
        before = model(IDS).logits
    config = replace(SHORT, steps=2, warmup_steps=0, learning_rate=1e-2, tune=tune)
    record, _ = run(tmp_path / "run", config, language_model=model)
    trained: Any = record.language_model
    with torch.no_grad():
        expected = trained(IDS).logits
    assert not torch.allclose(before, expected, atol=1e-3)
    saved = tmp_path / "saved"
    trained.save_pretrained(saved)
    if tune == "all":
        TOKENIZER.save_pretrained(saved)
        again = load_language_model(str(saved)).model
    else:
        adapted = {name.split(".")[-4] for name, p in trained.named_parameters() if p.requires_grad}
        assert adapted == ADAPTED[family]
        again = load_language_model(str(tmp_path / "base"), adapter=str(saved)).model
    with torch.no_grad():
        assert torch.allclose(again(IDS).logits, expected, atol=1e-4)


def test_other_modules_are_adapted_when_named(tmp_path: Path) -> None:
    model = base("llama", tmp_path / "base")
    config = replace(SHORT, steps=1, warmup_steps=0, tune="lora", lora_targets=("o_proj", "lm_head"))
    record, _ = run(tmp_path / "run", config, language_model=model)
    adapted = {name.split(".")[-4] for name, p in record.language_model.named_parameters() if p.requires_grad}
    assert adapted == {"o_proj", "lm_head"}


def test_a_model_without_a_pad_token_learns(tmp_path: Path) -> None:
    from tests.language_models import tiny_tokenizer

    from .conftest import drcap

    model = tiny_model("llama")
    model.config.pad_token_id = None
    record, _ = run(tmp_path, SHORT, drcap(tokenizer=tiny_tokenizer(bos=False)), language_model=model)
    assert record.loss > 0
