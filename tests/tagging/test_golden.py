"""Scores, losses and prompted encodings against what the released code of audio-free prompt tuning computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sonogloss.clap.prompted_text import prompted_states
from sonogloss.tagging.scores import coarse_scores, fine_scores, label_loss, ranking_loss

CASES = [f"set{s}.{scale}.{kind}" for s in range(3) for scale in ("init", "above_cap") for kind in ("single", "multi")]


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> Path:
    return shared_data / "golden" / "audio_free_prompt_tuning"


@pytest.fixture(scope="module")
def arrays(golden: Path) -> dict[str, Tensor]:
    with np.load(golden / "arrays.npz", allow_pickle=False) as kept:
        return {name: torch.from_numpy(kept[name]) for name in kept.files}


@pytest.fixture(scope="module")
def losses(golden: Path) -> dict[str, dict[str, Any]]:
    return {case["key"]: case for case in json.loads((golden / "losses.json").read_text())["cases"]}


def scores(arrays: dict[str, Tensor], case: str) -> dict[str, Tensor]:
    one = {name: arrays[f"{case[:4]}.{name}"] for name in ("sentence", "words", "attention_mask", "audio", "frames")}
    coarse, fine = arrays[f"{case[:4]}.class_coarse"], arrays[f"{case[:4]}.class_fine"]
    mask = one["attention_mask"][:, 1:]
    return {
        "coarse_text": coarse_scores(one["sentence"], coarse),
        "fine_text": fine_scores(one["words"], fine, mask, compat=True),
        "fine_text_derived_masked": fine_scores(one["words"], fine, mask),
        "coarse_audio": coarse_scores(one["audio"], coarse),
        "fine_audio": fine_scores(one["frames"], fine),
        "ensemble_audio": coarse_scores(one["audio"], coarse) + fine_scores(one["frames"], fine),
    }


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_the_released_code(
    arrays: dict[str, Tensor], losses: dict[str, dict[str, Any]], case: str
) -> None:
    scale = min(losses[case]["scale_used"], 100) if case.endswith("single") else 1.0
    for name, found in scores(arrays, case).items():
        assert torch.allclose(scale * found, arrays[f"{case}.{name}"], rtol=0, atol=2e-5 * scale), name


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_the_released_code(
    arrays: dict[str, Tensor], losses: dict[str, dict[str, Any]], case: str
) -> None:
    found, told = scores(arrays, case), losses[case]
    for name, score in {
        "coarse": "coarse_text", "fine": "fine_text", "derived_fine_masked": "fine_text_derived_masked"
    }.items():  # fmt: skip
        kind = "ce" if case.endswith("single") else "ranking"
        key = f"derived_{kind}_fine_masked" if name.startswith("derived") else f"{kind}_{name}"
        if kind == "ce":
            scale = float(np.exp(told["logit_scale_param"]))
            loss = label_loss(found[score], arrays[f"{case[:4]}.class_id"], scale)
        else:
            loss = ranking_loss(found[score], arrays[f"{case[:4]}.multi_hot"])
        assert loss.item() == pytest.approx(told[key], rel=1e-5, abs=1e-6), key


@pytest.mark.parametrize(("name", "compat"), [("class_features", True), ("derived_single_embedding_pass", False)])
def test_prompted_labels_are_those_of_the_released_code(
    golden: Path, arrays: dict[str, Tensor], name: str, compat: bool
) -> None:
    bert, head = bert_and_head(golden)
    ids, mask = arrays["prompted.input_ids"], arrays["prompted.attention_mask"]
    states = prompted_states(bert, ids, mask, arrays["prompted.prompts"], compat=compat)
    assert torch.allclose(head(states[:, 0]), arrays[f"prompted.{name}"], rtol=0, atol=1e-5)


def test_without_prompts_words_are_those_of_the_released_code(golden: Path, arrays: dict[str, Tensor]) -> None:
    bert, head = bert_and_head(golden)
    ids, mask = arrays["prompted.input_ids"], arrays["prompted.attention_mask"]
    states = prompted_states(bert, ids, mask, arrays["prompted.prompts"][:0])
    assert torch.allclose(head(states[:, 0]), arrays["prompted.plain_cls_features"], rtol=0, atol=1e-5)
    there = mask[:, 1:].bool()
    assert torch.allclose(head(states[:, 1:])[there], arrays["prompted.plain_word_features"][there], rtol=0, atol=1e-5)


def bert_and_head(golden: Path) -> tuple[Any, Any]:
    """The stand-in BERT, and Microsoft CLAP's projection, which ours has no use for."""
    from safetensors.torch import load_file
    from torch.nn.functional import gelu, layer_norm
    from transformers import BertModel

    weights = load_file(golden / "projection.safetensors")

    def head(states: Tensor) -> Tensor:
        first = states @ weights["linear1.weight"].T
        second = first + gelu(first) @ weights["linear2.weight"].T
        return layer_norm(second, second.shape[-1:], weights["layer_norm.weight"], weights["layer_norm.bias"])

    bert = BertModel.from_pretrained(golden / "bert", add_pooling_layer=False).eval().requires_grad_(False)
    return bert, head
