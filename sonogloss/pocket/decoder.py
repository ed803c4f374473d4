"""Train the pocket decoder: DRCap's text-only training on captions from the grammar, over the finished pocket CLAP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from sonogloss.captioners import ClapReference, DecodeSettings, ProjectionSettings, load_captioner, save_captioner
from sonogloss.clap import Clap
from sonogloss.pocket.calibrate import SCENES, band_table, temperature_table
from sonogloss.pocket.held_out import HeldOutScenes
from sonogloss.pocket.recipe import PocketRecipe, decoder_config, load_tokenizer
from sonogloss.prompts.composed import ComposedPrompt
from sonogloss.prompts.soft import Mapper
from sonogloss.soundscapes import caption_dump
from sonogloss.training.config import DrcapTrainingConfig
from sonogloss.training.corpus import Validation
from sonogloss.training.loop import train_drcap

PROMPT = ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}")
DECODE = DecodeSettings(num_beams=4, max_new_tokens=48, batch_size=32)


def shipped_config(recipe: PocketRecipe) -> DrcapTrainingConfig:
    """What the released decoder learns with: DRCap plus noise, dropped contexts and a band measured for this CLAP."""
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


def published_config(recipe: PocketRecipe) -> DrcapTrainingConfig:
    """The method as it was published, on the same data and for as many steps: no additions, the paper's band."""
    shipped = shipped_config(recipe)
    return replace(shipped, band=(0.75, 0.85), redraw=False, context_dropout=0.0, noise_std_max=0.0)


def train_decoder(directory: Path, recipe: PocketRecipe, clap: Clap, config: DrcapTrainingConfig, name: str) -> Path:
    """Train mapper and language model from scratch, choose the projection's temperature, save `directory/name`.

    Checkpoints and `loss.csv` go to `directory/name-training`. Nothing is done when the captioner is there.
    """
    finished = directory / name
    if (finished / "captioner.json").exists():
        return finished
    tokenizer = load_tokenizer(directory / "tokenizer")
    captions = list(dict.fromkeys(caption_dump(recipe.decoder_captions, recipe.seed + 1)))
    datastore = list(dict.fromkeys(caption_dump(recipe.decoder_datastore, recipe.seed + 2)))
    held_out = list(dict.fromkeys(caption_dump(600, recipe.seed + 3)))
    datastore_embeddings = clap.embed_text(datastore)
    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(decoder_config(len(tokenizer)))
    mapper = Mapper(clap.dim, model.config.n_embd, hidden=512)
    record = train_drcap(
        captions=captions,
        caption_embeddings=clap.embed_text(captions),
        datastore_captions=datastore,
        datastore_embeddings=datastore_embeddings,
        language_model=model,
        tokenizer=tokenizer,
        mapper=mapper,
        prompt=PROMPT,
        config=config,
        directory=str(directory / f"{name}-training"),
        validation=Validation(captions=held_out, embeddings=clap.embed_text(held_out)),
        resume=True,
        log=lambda line: print(f"{name}: {line}", flush=True),
    )

    def save(path: Path, temperature: float, training: dict[str, object]) -> None:
        save_captioner(
            str(path),
            clap=ClapReference(name="pocket", fingerprint=clap.fingerprint, dim=clap.dim),
            language_model=model,
            tokenizer=tokenizer,
            mapper=mapper,
            prompt=PROMPT,
            projection=ProjectionSettings(temperature=temperature, renormalise=True),
            decode=DECODE,
            training=training,
            half=True,
        )

    # The temperature is the one with the best CIDEr-D on validation scenes, measured on the captioner as it is saved.
    trial = directory / f"{name}-trial"
    save(trial, clap.temperature, {})
    scenes = HeldOutScenes.make(directory / "calibration.npz", SCENES, recipe.validation_seed + 700_000)
    captioner, audio = load_captioner(str(trial)), scenes.embed(clap)
    bands = band_table(scenes, audio, datastore, datastore_embeddings)
    print(f"{name}: event F1 of what audio finds, and of text neighbours by cosine: {bands}", flush=True)
    table = temperature_table(scenes, audio, captioner, datastore, datastore_embeddings)
    print(f"{name}: temperature -> (CIDEr-D, event F1): {table}", flush=True)
    best = max(table, key=lambda temperature: table[temperature][0])
    save(finished, best, record.as_json() | {"temperature_table": {f"{t:g}": row for t, row in table.items()}})
    return finished
