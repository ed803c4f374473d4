"""Train the pocket decoder: DRCap's text-only training on captions from the grammar, over the finished pocket CLAP."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from sonogloss.clap import Clap
from sonogloss.pocket.recipe import PocketRecipe, decoder_config
from sonogloss.prompts.composed import ComposedPrompt
from sonogloss.prompts.soft import Mapper
from sonogloss.soundscapes import caption_dump
from sonogloss.training.config import DrcapTrainingConfig
from sonogloss.training.loop import TrainingRecord, Validation, train_drcap

PROMPT = ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}")


def training_config(recipe: PocketRecipe) -> DrcapTrainingConfig:
    """The released decoder's settings: DRCap plus noise, dropped contexts and a band calibrated for this CLAP."""
    return DrcapTrainingConfig(
        steps=recipe.decoder_steps,
        batch_size=recipe.decoder_batch,
        learning_rate=recipe.decoder_learning_rate,
        warmup_steps=200,
        schedule="cosine",
        weight_decay=0.01,
        betas=(0.9, 0.98),
        grad_clip=1.0,
        band=recipe.decoder_band,
        redraw=True,
        context_dropout=recipe.decoder_context_dropout,
        noise_std_max=recipe.decoder_noise,
        precision="bf16",
        seed=recipe.seed,
        eval_every=500,
        checkpoint_every=500,
    )


def train_decoder(
    directory: Path, recipe: PocketRecipe, clap: Clap, tokenizer_directory: Path, config: DrcapTrainingConfig
) -> tuple[GPT2LMHeadModel, Mapper, TrainingRecord]:
    """Train mapper and language model from scratch; checkpoints and `loss.csv` go to `directory`."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_directory)
    captions = list(dict.fromkeys(caption_dump(recipe.decoder_captions, recipe.seed + 1)))
    datastore = list(dict.fromkeys(caption_dump(recipe.decoder_datastore, recipe.seed + 2)))
    held_out = list(dict.fromkeys(caption_dump(600, recipe.seed + 3)))
    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(decoder_config(len(tokenizer)))
    mapper = Mapper(clap.dim, model.config.n_embd, hidden=512)
    record = train_drcap(
        captions=captions,
        caption_embeddings=clap.embed_text(captions),
        datastore_captions=datastore,
        datastore_embeddings=clap.embed_text(datastore),
        language_model=model,
        tokenizer=tokenizer,
        mapper=mapper,
        prompt=PROMPT,
        config=config,
        directory=str(directory),
        validation=Validation(captions=held_out, embeddings=clap.embed_text(held_out)),
        resume=True,
        log=lambda line: print(f"decoder {line}", flush=True),
    )
    return model, mapper, record
