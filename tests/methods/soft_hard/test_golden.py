"""The released soft and hard prompts, end to end: every caption of the golden cases, token by token."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from sonogloss.decoding.generate import generate, left_padded
from sonogloss.decoding.language_model import load_language_model
from sonogloss.decoding.sequences import AUDIO_SLOT
from sonogloss.methods import ClapIdentity, DecodeSettings
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.magic import MagicBeam
from sonogloss.methods.mapper import TanhMapper
from sonogloss.methods.registry import MAGIC
from sonogloss.methods.soft_hard.captioner import SoftHardCaptioner
from sonogloss.methods.soft_hard.method import RELEASED_DECODE
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt, compose_soft_hard_prompts
from tests.byte_table import ByteTable

BEAMS = {"beam3": 3, "beam5": 5, "greedy": 1}


@pytest.fixture(scope="module")
def directory(shared_data: Path) -> Path:
    path = shared_data / "golden" / "softhard"
    if not path.is_dir():
        pytest.skip("the golden soft-hard cases are not beside this repository")
    return path


@pytest.fixture(scope="module")
def cases(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "decode.json").read_text(encoding="utf-8"))
    return content


def golden_mapper(directory: Path) -> TanhMapper:
    names = {"model.0.": "linear1.", "model.2.": "linear2."}
    weights = safetensors.torch.load_file(directory / "mapper_mlp.safetensors")
    mapper = TanhMapper(32, 48)
    mapper.load_state_dict({names[name[:8]] + name[8:]: tensor for name, tensor in weights.items()})
    return mapper.eval()


@pytest.mark.parametrize("batch_size", [1, 5])
def test_every_golden_caption_is_equal_token_by_token(directory: Path, cases: dict[str, Any], batch_size: int) -> None:
    labels = json.loads((directory / "hard_prompts.json").read_text(encoding="utf-8"))["labels"]
    with np.load(directory / "decode_inputs.npz", allow_pickle=False) as arrays:
        audio, embeddings = arrays["audio"], arrays["label_embeddings"]
    language_model, mapper = load_language_model(str(directory / "gpt2")), golden_mapper(directory)
    released = RELEASED_DECODE
    assert (list(released.stop), released.max_new_tokens) == ([cases["stop_token"]], cases["entry_length"])
    seen = set()
    for (mode, k), group in groupby(cases["cases"], key=lambda case: (case["mode"], case["K"])):
        if mode not in BEAMS:
            continue
        rows = list(group)
        captioner = SoftHardCaptioner(
            language_model=language_model,
            mapper=mapper,
            prompt=SoftHardPrompt(labels=k),
            labels=LabelBank(labels=tuple(labels), embeddings=embeddings, clap="golden"),
            clap=ClapIdentity(name="golden", fingerprint="golden", dim=32),
            projection=None,
            decode=DecodeSettings(
                num_beams=BEAMS[mode],
                max_new_tokens=released.max_new_tokens,
                scoring=released.scoring,
                stop=released.stop,
                batch_size=batch_size,
            ),
            fingerprint="",
        )
        given = audio[[case["clip"] for case in rows]]
        names = captioner.names(given)
        assert [captioner.prompt.hard_prompt_text(row) for row in names] == [case["hard_prompt"] for case in rows]
        prompts = compose_soft_hard_prompts(names, captioner.prompt, language_model.tokenizer)
        assert prompts == [[*case["hard_prompt_ids"], *[AUDIO_SLOT] * 10] for case in rows]
        with torch.inference_mode():
            ids = generate(language_model, prompts, mapper(torch.from_numpy(given)), captioner.decode)
        assert ids == [case["best_ids"] for case in rows]
        captions = captioner.caption(given, [[] for _ in rows])
        assert captions == [" ".join(case["final_caption"].split()) for case in rows]
        seen.add((mode, k))
    assert seen == {("beam3", 4), ("beam3", 0), ("beam3", 2), ("beam5", 4), ("greedy", 4)}


def test_every_caption_of_the_magic_beam_is_equal_token_by_token(directory: Path, cases: dict[str, Any]) -> None:
    settings, language_model = cases["magic"], load_language_model(str(directory / "gpt2"))
    mapper = golden_mapper(directory)
    with np.load(directory / "decode_inputs.npz", allow_pickle=False) as arrays:
        audio, heard, table = arrays["audio"], arrays["magic_audio"], arrays["magic_text_table"]
    assert {"magic": settings["width"], "magic_alpha": settings["alpha"], "magic_beta": settings["beta"]} == MAGIC
    decode = DecodeSettings(max_new_tokens=settings["entry_length"], stop=RELEASED_DECODE.stop, **MAGIC)
    beam = MagicBeam(language_model, ByteTable(table).embed_text, temperature=settings["temp"], settings=decode)
    rows = [case for case in cases["cases"] if case["mode"] == "magic_beam3"]
    assert len(rows) > 5
    for case in rows:
        with torch.inference_mode():
            soft = mapper(torch.from_numpy(audio[case["clip"]])[None])
        prompt = [*case["hard_prompt_ids"], *[AUDIO_SLOT] * 10]
        vectors, _ = left_padded(language_model, [prompt], soft)
        assert beam.search(vectors, heard[case["clip"]], beams=3) == case["all_ids"], case["id"]
