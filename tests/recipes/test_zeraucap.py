from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.pocket import release, zeraucap
from recipes.pocket.plain_lm import paragraphs
from recipes.pocket.recipe import PocketRecipe, decoder_config, load_tokenizer
from sonogloss.clap import load_clap
from sonogloss.methods import load_captioner, verify_captioner
from sonogloss.methods.zeraucap.captioner import ZerAuCapCaptioner
from sonogloss.soundscapes import mentioned


def test_paragraphs_keep_to_their_subject_and_hold_no_prompt() -> None:
    texts = list(paragraphs(300, 1))
    assert texts == list(paragraphs(300, 1))
    assert texts != list(paragraphs(300, 2))
    tokenizer = load_tokenizer(zeraucap.WEIGHTS / "clap")
    for text in texts:
        *told, last = text.removesuffix(".").split(". ")
        assert frozenset().union(*map(mentioned, told)) <= mentioned(last)
        assert "object" not in text
        assert len(tokenizer(text)["input_ids"]) <= decoder_config(len(tokenizer)).n_positions
    leads = sum("this is a sound of" in text for text in texts)
    assert 100 < leads < 200


def test_the_recipe_makes_a_captioner_that_can_be_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(PocketRecipe(), plain_steps=2, plain_batch=4, plain_warmup=1)
    made = zeraucap.make_zeraucap(tmp_path, recipe)
    before = (made / "captioner.json").read_bytes()
    assert zeraucap.make_zeraucap(tmp_path, recipe) == made
    assert (made / "captioner.json").read_bytes() == before  # what is finished is not done again
    captioner = load_captioner(str(made))
    assert isinstance(captioner, ZerAuCapCaptioner)
    assert len(captioner.labels.labels) == 50
    embeddings = load_clap("pocket").embed_text(["a dog barks"])  # as good as any, for a caption that means nothing
    assert len(captioner.caption(embeddings, [()])) == 1

    weights, reports = tmp_path / "weights", tmp_path / "reports" / "zeraucap-ablation"
    reports.mkdir(parents=True)
    weights.mkdir()
    row = {"cider_d": 0.25, "event_f1": 0.5, "published": 28.1}
    (reports / "report.json").write_text(json.dumps({"scenes": 7, "components": {"keywords alone": row}}))
    monkeypatch.setattr(release, "WEIGHTS", weights)
    zeraucap.release_zeraucap(tmp_path, tmp_path / "reports")
    released = weights / "zeraucap"
    assert verify_captioner(str(released)) == []
    assert load_captioner(str(released)).fingerprint == captioner.fingerprint
    card = (released / "README.md").read_text()
    assert "| keywords alone | 0.250 | 0.500 |" in card
    assert "1.1 million" in card
    assert [path.name for path in weights.iterdir()] == ["zeraucap"]
