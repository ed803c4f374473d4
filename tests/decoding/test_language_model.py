from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from sonogloss.decoding.adapter import attach_adapter
from sonogloss.decoding.language_model import load_language_model
from sonogloss.errors import MissingInputError, ModelFormatError
from tests.language_models import tiny_gpt2, tiny_llama, tiny_tokenizer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tiny_llama().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_saved_in_half_precision_computes_in_float32(tmp_path: Path) -> None:
    tiny_gpt2().half().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path))
    assert loaded.model.dtype == torch.float32
    assert (loaded.bos_id, loaded.pad_id, loaded.eos_id, loaded.width) == (0, 1, 2, 32)
    assert loaded.max_positions == 256


def test_generation_habits_of_a_checkpoint_do_not_leak_in(directory: Path) -> None:
    habits = {"do_sample": True, "temperature": 0.9, "top_p": 0.6, "repetition_penalty": 1.3}
    (directory / "generation_config.json").write_text(json.dumps(habits), encoding="utf-8")
    assert load_language_model(str(directory)).model.generation_config.repetition_penalty in (None, 1.0)


def test_a_merged_adapter_answers_as_the_adapted_model(directory: Path, tmp_path: Path) -> None:
    base = tiny_llama()
    adapted = attach_adapter(base, rank=4, alpha=8, dropout=0.0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    adapted.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        expected = adapted.eval()(input_ids=ids).logits
        merged = load_language_model(str(directory), adapter=str(tmp_path / "adapter")).model(input_ids=ids).logits
        plain = load_language_model(str(directory)).model(input_ids=ids).logits
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(merged, plain, atol=1e-2)


@pytest.mark.parametrize(
    ("file", "message"),
    [("config.json", "config.json"), ("model.safetensors", "no safetensors"), ("tokenizer.json", "no tokenizer")],
)
def test_a_missing_file_is_named(directory: Path, file: str, message: str) -> None:
    (directory / file).unlink()
    with pytest.raises(ModelFormatError, match=message):
        load_language_model(str(directory))


def test_pickled_weights_are_not_read(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match="pickle"):
        load_language_model(str(directory))


def test_damaged_weights_are_named(directory: Path) -> None:
    content = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFormatError, match="cannot be loaded"):
        load_language_model(str(directory))


def test_an_adapter_of_another_model_is_refused(directory: Path, tmp_path: Path) -> None:
    attach_adapter(tiny_llama(width=64), rank=4, alpha=8, dropout=0.0).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelFormatError, match="does not fit"):
        load_language_model(str(directory), adapter=str(tmp_path / "adapter"))
    with pytest.raises(ModelFormatError, match=r"adapter_config\.json"):
        load_language_model(str(directory), adapter=str(tmp_path))


@pytest.mark.parametrize("name", ["./nowhere", "no-such-owner/no-such-model"])
def test_what_is_nowhere_is_missing(name: str) -> None:
    with pytest.raises(MissingInputError):
        load_language_model(name)


def test_special_tokens_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    """The tokenizer of another model: its end would never come, or index outside the embeddings."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<new end>"})
    assert tokenizer.eos_token_id >= 320
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelFormatError, match="special tokens that the model's vocabulary lacks"):
        load_language_model(str(tmp_path))


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelFormatError, match="end-of-text"):
        load_language_model(str(tmp_path))


def test_a_model_that_beam_search_does_not_support_is_refused_on_loading(tmp_path: Path) -> None:
    shape = {"vocab_size": 320, "hidden_size": 32, "n_layer": 1, "n_head": 2}
    BloomForCausalLM(BloomConfig(**shape, bos_token_id=0, eos_token_id=2, pad_token_id=1)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelFormatError, match="'bloom' are not supported"):
        load_language_model(str(tmp_path))


def test_stop_criteria_are_made_once_for_each_set_of_strings(directory: Path) -> None:
    model = load_language_model(str(directory))
    assert model.stop_criteria((".",)) is model.stop_criteria((".",))
    assert model.stop_criteria((".",)) is not model.stop_criteria(())


def test_loading_prints_nothing(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_language_model(str(directory))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["", "a/b/c", "models/llama", "../model", "https://example.org/model"])
def test_a_name_that_is_neither_directory_nor_hub_id_is_missing(name: str) -> None:
    with pytest.raises(MissingInputError, match="is not a directory") as caught:
        load_language_model(name)
    assert "for the model hub write hf:" in caught.value.remedy


@pytest.mark.parametrize("name", ["hf:nobody/nothing", "nothing"])
def test_a_name_of_the_hub_is_asked_for_there(name: str) -> None:
    with pytest.raises(MissingInputError, match="cannot be loaded from the model hub"):
        load_language_model(name)
