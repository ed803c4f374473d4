"""The order of the work: pool, tokenizer, CLAP, decoder."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerFast

from sonogloss.pocket.contrastive import train_clap
from sonogloss.pocket.pool import build_pool
from sonogloss.pocket.recipe import PocketRecipe, load_tokenizer, train_tokenizer
from sonogloss.pocket.validation import Validation
from sonogloss.soundscapes import CLASSES, caption_dump


def build(directory: Path, real_clips: Path | None, recipe: PocketRecipe | None = None) -> None:
    """Make the pair under `directory`: `clap/` and `drcap/`. Steps whose result is there are skipped."""
    recipe = recipe or PocketRecipe()
    directory.mkdir(parents=True, exist_ok=True)
    build_pool(directory / "pool", recipe, real_clips)
    tokenizer = _tokenizer(directory / "tokenizer", recipe)
    validation = Validation(directory, recipe, tokenizer, real_clips)
    train_clap(directory, recipe, tokenizer, validation)


def _tokenizer(directory: Path, recipe: PocketRecipe) -> PreTrainedTokenizerFast:
    if not (directory / "tokenizer.json").exists():
        texts = [*caption_dump(40_000, recipe.seed), *(sound.label for sound in CLASSES.values())]
        train_tokenizer(texts).save_pretrained(directory)
    return load_tokenizer(directory)
