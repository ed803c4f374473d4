"""The released DRCap, end to end: every caption of the golden cases, token by token."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sonogloss.decoding.generate import generate
from sonogloss.decoding.language_model import load_language_model
from sonogloss.methods import ClapIdentity, DecodeSettings, ProjectionSettings
from sonogloss.methods.drcap.captioner import DrcapCaptioner
from sonogloss.methods.drcap.prompt import ComposedPrompt, compose_prompts
from sonogloss.methods.mapper import load_mapper
from sonogloss.records import Context, FloatArray


@pytest.fixture(scope="module")
def directory(shared_data: Path) -> Path:
    path = shared_data / "golden" / "drcap"
    if not path.is_dir():
        pytest.skip("the golden DRCap cases are not beside this repository")
    return path


@pytest.fixture(scope="module")
def cases(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "e2e.json").read_text(encoding="utf-8"))
    return content


class Shelf:
    """The golden datastore and support, in a few lines of numpy."""

    def __init__(self, directory: Path, cases: dict[str, Any]) -> None:
        with np.load(directory / "e2e_inputs.npz", allow_pickle=False) as arrays:
            self.datastore, self.support = arrays["datastore"], arrays["support"]
            raw = arrays["audio_raw"]
        self.audio: FloatArray = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        self.captions: list[str] = cases["datastore_captions"]

    def search(self, queries: FloatArray, k: int) -> list[list[Context]]:
        scores = queries @ self.datastore.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [
            [Context(id=int(i), text=self.captions[i], score=float(scores[row, i]), source="golden") for i in best]
            for row, best in enumerate(order)
        ]

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        scores = queries.astype(np.float64) @ self.support.T / temperature
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        projected = weights / weights.sum(axis=1, keepdims=True) @ self.support
        assert not renormalise
        return np.asarray(projected, np.float32)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_every_golden_caption_is_equal_token_by_token(directory: Path, cases: dict[str, Any], batch_size: int) -> None:
    shelf = Shelf(directory, cases)
    models = {
        lora: load_language_model(str(directory / "llm"), adapter=str(directory / "lora") if lora else None)
        for lora in (False, True)
    }
    seen = set()
    for name, group in groupby(cases["cases"], key=lambda case: case["setting"]["name"]):
        rows = list(group)
        setting = rows[0]["setting"]
        tokenizer = models[setting["lora"]].tokenizer
        captioner = DrcapCaptioner(
            language_model=models[setting["lora"]],
            mapper=load_mapper(str(directory / "mapper.safetensors")),
            prompt=ComposedPrompt(),
            clap=ClapIdentity(name="golden", fingerprint="", dim=32),
            contexts=setting["ncap"],
            projection=ProjectionSettings(temperature=setting["temp"], renormalise=False),
            decode=DecodeSettings(
                num_beams=setting["nb"], max_new_tokens=rows[0]["max_new_tokens"], batch_size=batch_size
            ),
            fingerprint="",
        )
        captions, contexts = captioner.caption_audio(shelf.audio[[case["clip"] for case in rows]], shelf)
        texts = [[context.text for context in row] for row in contexts]
        assert texts == [case["similar_captions"] for case in rows]
        prompts = compose_prompts(texts, ComposedPrompt(), tokenizer)
        assert prompts == [case["prompt_ids"] for case in rows]
        assert captions == [case["text"] for case in rows]
        projected = shelf.project(
            shelf.audio[[case["clip"] for case in rows]], temperature=setting["temp"], renormalise=False
        )
        soft = load_mapper(str(directory / "mapper.safetensors"))(torch.from_numpy(projected))
        ids = generate(models[setting["lora"]], prompts, soft, captioner.decode)
        assert [[*new, tokenizer.eos_token_id] for new in ids] == [case["generated_ids"] for case in rows]
        seen.add(name)
    assert seen == {"parity", "temp0.01", "lora", "greedy", "one_caption", "no_caption"}
