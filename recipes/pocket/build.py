"""The order of the work: pool, tokenizer, CLAP, decoder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from recipes.pocket.contrastive import train_clap
from recipes.pocket.decoder import PUBLISHED, shipped_settings, train_decoder
from recipes.pocket.pool import build_pool
from recipes.pocket.recipe import PocketRecipe, load_tokenizer, train_tokenizer
from recipes.pocket.validation import Validation
from sonogloss.clap import load_clap
from sonogloss.soundscapes import CLASSES, caption_dump


def build(directory: Path, real_clips: Path | None, *, published: bool = False) -> None:
    """Make the pair under `directory`: `clap/` and `drcap/`. Steps whose result is there are skipped.

    With `published` a second decoder, `drcap-published/`, learns exactly as the paper has it.
    """
    recipe = PocketRecipe()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2))
    build_pool(directory / "pool", recipe, real_clips)
    tokenizer = _tokenizer(directory / "tokenizer", recipe)
    if not (directory / "clap" / "model.safetensors").exists():
        train_clap(directory, recipe, tokenizer, Validation(directory, recipe, tokenizer, real_clips))
    clap = load_clap(str(directory / "clap"))
    train_decoder(directory, recipe, clap, shipped_settings(recipe), "drcap")
    if published:
        train_decoder(directory, recipe, clap, PUBLISHED, "drcap-published")


def _tokenizer(directory: Path, recipe: PocketRecipe) -> PreTrainedTokenizerFast:
    if not (directory / "tokenizer.json").exists():
        texts = [*caption_dump(40_000, recipe.seed), *(sound.label for sound in CLASSES.values())]
        train_tokenizer(texts).save_pretrained(directory)
    return load_tokenizer(directory)
