"""The released search of soft and hard prompts: every caption of the golden cases and every beam, token by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sonogloss.decoding.generate import generate, search
from sonogloss.decoding.language_model import LanguageModel, load_language_model
from sonogloss.decoding.sequences import AUDIO_SLOT
from sonogloss.decoding.settings import DecodeSettings

SLOTS = 10


@pytest.fixture(scope="module")
def directory(shared_data: Path) -> Path:
    path = shared_data / "golden" / "softhard"
    if not path.is_dir():
        pytest.skip("the golden cases of soft and hard prompts are not beside this repository")
    return path


@pytest.fixture(scope="module")
def cases(directory: Path) -> list[dict[str, Any]]:
    content = json.loads((directory / "decode.json").read_text(encoding="utf-8"))
    assert (content["stop_token"], content["entry_length"]) == (".", 67)
    return list(content["cases"])


@pytest.fixture(scope="module")
def model(directory: Path) -> LanguageModel:
    return load_language_model(str(directory / "gpt2"))


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize(("mode", "beams"), [("greedy", 1), ("beam3", 3), ("beam5", 5)])
def test_every_golden_beam_is_equal_token_by_token(
    directory: Path, cases: list[dict[str, Any]], model: LanguageModel, mode: str, beams: int, batch_size: int
) -> None:
    rows = [case for case in cases if case["mode"] == mode]
    assert len(rows) >= 7
    settings = DecodeSettings(num_beams=beams, max_new_tokens=67, batch_size=batch_size, scoring="average", stop=(".",))
    prompts = [[*case["hard_prompt_ids"], *[AUDIO_SLOT] * SLOTS] for case in rows]
    soft = _soft_prompts(directory)[[case["clip"] for case in rows]]
    best = [case["best_ids"] for case in rows]
    assert generate(model, prompts, soft, settings) == best
    found = search(model, prompts, soft, settings, candidates=beams)
    assert [[candidate.ids for candidate in ranked] for ranked in found] == [
        case["all_ids"] or [case["best_ids"]] for case in rows
    ]


def _soft_prompts(directory: Path) -> torch.Tensor:
    weights = load_file(directory / "mapper_mlp.safetensors")
    with np.load(directory / "decode_inputs.npz", allow_pickle=False) as arrays:
        audio = torch.from_numpy(arrays["audio"])
    hidden = torch.tanh(audio @ weights["model.0.weight"].T + weights["model.0.bias"])
    return (hidden @ weights["model.2.weight"].T + weights["model.2.bias"]).unflatten(1, (SLOTS, -1))
