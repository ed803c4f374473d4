from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods import (
    ClapIdentity,
    DecodeSettings,
    NewCaptioner,
    load_captioner,
    save_captioner,
    verify_captioner,
)
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.mapper import TanhMapper, TransformerMapper
from sonogloss.methods.soft_hard.captioner import SoftHardCaptioner
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.records import FloatArray
from tests.language_models import tiny_gpt2, tiny_language_model, tiny_tokenizer

LABELS = ("Dog", "Rain", "Bell", "Male speech, man speaking", "Engine")
CLAP = ClapIdentity(name="tiny", fingerprint="0" * 64, dim=8)
DECODE = DecodeSettings(num_beams=2, max_new_tokens=8, scoring="average", stop=(".",), batch_size=3)


def unit(rows: int, seed: int = 0) -> FloatArray:
    vectors = np.random.default_rng([rows, seed]).standard_normal((rows, 8)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def bank(*, clap: str = CLAP.fingerprint) -> LabelBank:
    return LabelBank(labels=LABELS, embeddings=unit(len(LABELS), 9), clap=clap)


def tiny_captioner(**changes: Any) -> SoftHardCaptioner:
    torch.manual_seed(3)
    parts: dict[str, Any] = {
        "language_model": tiny_language_model(),
        "mapper": TanhMapper(8, 32, slots=3),
        "prompt": SoftHardPrompt(labels=2, soft_slots=3),
        "labels": bank(),
        "clap": CLAP,
        "projection": None,
        "decode": DECODE,
        "fingerprint": "f" * 64,
    }
    return SoftHardCaptioner(**(parts | changes))


CAPTIONER = tiny_captioner()


def save(directory: Path, **changes: Any) -> Path:
    torch.manual_seed(5)
    parts: dict[str, Any] = {
        "clap": CLAP,
        "language_model": tiny_gpt2(),
        "tokenizer": tiny_tokenizer(),
        "mapper": TransformerMapper(8, 32, slots=3, layers=1, heads=2),
        "prompt": SoftHardPrompt(labels=2, soft_slots=3, languages=("en", "fr"), language_tag="en"),
        "projection": None,
        "labels": bank(),
    }
    save_captioner(str(directory), NewCaptioner(**(parts | changes)))
    return directory


@settings(deadline=None, max_examples=6, derandomize=True)
@given(rows=st.integers(1, 6))
def test_a_caption_does_not_depend_on_its_neighbours(rows: int) -> None:
    embeddings = unit(rows)
    together = CAPTIONER.caption(embeddings, [[]] * rows)
    assert together == [CAPTIONER.caption(embeddings[i : i + 1], [[]])[0] for i in range(rows)]
    assert together == CAPTIONER.caption(embeddings, [["what is retrieved is not read"]] * rows)


def test_the_nearest_labels_are_named() -> None:
    labels = bank()
    assert CAPTIONER.names(labels.embeddings[3:4])[0][0] == "Male speech, man speaking"
    assert CAPTIONER.names(unit(2)) == labels.names(unit(2), 2)
    assert CAPTIONER.has_keywords
    assert CAPTIONER.keywords(unit(2)) == labels.nearest(unit(2), 2)
    for prompt in (SoftHardPrompt(hard=False, soft_slots=3), SoftHardPrompt(labels=0, soft_slots=3)):
        silent = tiny_captioner(prompt=prompt, labels=None)
        assert not silent.has_keywords
        assert silent.names(unit(2)) == [[], []]
        assert silent.keywords(unit(2)) == [(), ()]


def test_each_half_of_the_prompt_matters_and_can_be_left_out() -> None:
    embeddings = unit(8)
    both = CAPTIONER.caption(embeddings, [[]] * 8)
    soft = tiny_captioner(prompt=SoftHardPrompt(hard=False, soft_slots=3), labels=None).caption(embeddings, [[]] * 8)
    hard = tiny_captioner(prompt=SoftHardPrompt(labels=2, soft=False), mapper=None).caption(embeddings, [[]] * 8)
    nothing = tiny_captioner(prompt=SoftHardPrompt(labels=0, soft_slots=3), labels=None).caption(embeddings, [[]] * 8)
    assert len({tuple(captions) for captions in (both, soft, hard, nothing)}) == 4


def test_the_number_of_beams_can_be_chosen_for_a_call() -> None:
    embeddings = unit(8)
    greedy = tiny_captioner(decode=DecodeSettings(num_beams=1, max_new_tokens=8, scoring="average", stop=(".",)))
    assert CAPTIONER.caption(embeddings, [[]] * 8, beams=1) == greedy.caption(embeddings, [[]] * 8)


def test_candidates_come_likeliest_first() -> None:
    embeddings = unit(8)
    found = CAPTIONER.candidates(embeddings, [[]] * 8, 2)
    assert [texts[0] for texts in found] == CAPTIONER.caption(embeddings, [[]] * 8)
    assert all(1 <= len(set(texts)) == len(texts) <= 2 for texts in found)
    wide = CAPTIONER.candidates(embeddings, [[]] * 8, 4)
    assert [texts[0] for texts in wide] == CAPTIONER.caption(embeddings, [[]] * 8, beams=4)
    assert [texts[:1] for texts in CAPTIONER.candidates(embeddings, [[]] * 8, 1)] == [texts[:1] for texts in found]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mapper": None}, ModelFormatError, "there is no mapper"),
        ({"mapper": TanhMapper(8, 32, slots=2)}, ModelFormatError, "8 dimensions into 2 x 32"),
        ({"labels": None}, ModelFormatError, "names 2 labels, and there are 0"),
        ({"prompt": SoftHardPrompt(labels=9, soft_slots=3)}, ModelFormatError, "names 9 labels, and there are 5"),
        ({"labels": bank(clap="1" * 64)}, ModelFormatError, "embedded with another CLAP"),
        ({"decode": DecodeSettings(max_new_tokens=250)}, OptionError, "leaves room for 6"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tiny_captioner(**changes)


def test_a_saved_captioner_loads_and_captions(tmp_path: Path) -> None:
    captioner = load_captioner(str(save(tmp_path)))
    assert isinstance(captioner, SoftHardCaptioner)
    assert (captioner.method, captioner.contexts, captioner.projection) == ("soft-hard", 0, None)
    assert captioner.decode == DecodeSettings(num_beams=3, max_new_tokens=67, scoring="average", stop=(".",))
    assert captioner.prompt.languages == ("en", "fr")
    assert captioner.names(unit(3)) == bank().names(unit(3), 2)
    assert captioner.caption(unit(3), [[]] * 3) == load_captioner(str(tmp_path)).caption(unit(3), [[]] * 3)
    said = json.loads((tmp_path / "captioner.json").read_text(encoding="utf-8"))
    assert (said["method"], said["labels"], said["projection"]) == ("soft-hard", "labels", None)
    assert {"labels/labels.json", "labels/labels.safetensors"} <= {entry["path"] for entry in said["files"]}
    assert verify_captioner(str(tmp_path)) == []
    (tmp_path / "labels" / "labels.json").unlink()
    assert verify_captioner(str(tmp_path)) == ["labels/labels.json is missing."]


def test_a_captioner_of_several_languages_speaks_the_one_that_is_asked_for(tmp_path: Path) -> None:
    save(tmp_path)
    french = load_captioner(str(tmp_path), language="fr")
    assert isinstance(french, SoftHardCaptioner)
    assert french.prompt.language_tag == "fr"
    assert french.caption(unit(8), [[]] * 8) != load_captioner(str(tmp_path)).caption(unit(8), [[]] * 8)
    with pytest.raises(OptionError, match="'zh' is not among those"):
        load_captioner(str(tmp_path), language="zh")
    one = save(tmp_path / "one", prompt=SoftHardPrompt(labels=2, soft_slots=3))
    with pytest.raises(OptionError, match="has one language only"):
        load_captioner(str(one), language="fr")


def test_without_soft_prompt_there_is_no_mapper(tmp_path: Path) -> None:
    save(tmp_path, mapper=None, prompt=SoftHardPrompt(labels=2, soft=False))
    assert not (tmp_path / "mapper.safetensors").exists()
    assert len(load_captioner(str(tmp_path)).caption(unit(3), [[]] * 3)) == 3


def test_a_prompt_of_the_other_method_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    said = json.loads((tmp_path / "captioner.json").read_text(encoding="utf-8"))
    (tmp_path / "captioner.json").write_text(json.dumps(said | {"method": "drcap"}), encoding="utf-8")
    with pytest.raises(ModelFormatError, match="missing or malformed"):
        load_captioner(str(tmp_path))
