"""Train the pocket decoder: DRCap's text-only training on captions from the grammar, over the finished pocket CLAP."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from recipes.caption_arrays import CaptionArrays
from recipes.pocket.calibrate import SCENES, band_table, temperature_table
from recipes.pocket.held_out import HeldOutScenes
from recipes.pocket.recipe import PocketRecipe, decoder_config, load_tokenizer
from sonogloss.clap import Clap
from sonogloss.methods import (
    ClapIdentity,
    DecodeSettings,
    NewCaptioner,
    ProjectionSettings,
    load_captioner,
    save_captioner,
)
from sonogloss.methods.drcap.examples import DrcapExamples
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.mapper import Mapper
from sonogloss.methods.plan import MapperSettings, TrainingData, TrainingPlan
from sonogloss.soundscapes import caption_dump
from sonogloss.training.config import TrainingConfig
from sonogloss.training.loop import train

PROMPT = ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}")
DECODE = DecodeSettings(num_beams=4, max_new_tokens=48, batch_size=32)


def training_config(recipe: PocketRecipe) -> TrainingConfig:
    """The numbers of the released decoder's training."""
    return TrainingConfig(
        steps=recipe.decoder_steps,
        batch_size=recipe.decoder_batch,
        learning_rate=recipe.decoder_learning_rate,
        warmup_steps=200,
        schedule="cosine",
        weight_decay=0.01,
        betas=(0.9, 0.98),
        grad_clip=1.0,
        precision="bfloat16",
        seed=recipe.seed,
        eval_every=500,
        checkpoint_every=500,
    )


def shipped_settings(recipe: PocketRecipe) -> DrcapSettings:
    """What the released decoder is shown: DRCap plus noise, dropped contexts and a band measured for this CLAP."""
    return DrcapSettings(
        band=recipe.decoder_band,
        redraw=True,
        context_dropout=recipe.decoder_context_dropout,
        noise_std_max=recipe.decoder_noise,
    )


PUBLISHED = DrcapSettings()
"""The method as it was published: no additions, the paper's band."""


def train_decoder(directory: Path, recipe: PocketRecipe, clap: Clap, settings: DrcapSettings, name: str) -> Path:
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
    config = training_config(recipe)
    plan = TrainingPlan(
        training=config,
        settings=settings,
        prompt=PROMPT,
        mapper=MapperSettings(kind="relu"),
        projection=None,
        decode=DECODE,
    )
    data = TrainingData(
        captions=CaptionArrays(captions, clap.embed_text(captions)),
        datastore=CaptionArrays(datastore, datastore_embeddings),
        validation=CaptionArrays(held_out, clap.embed_text(held_out)),
        tokenizer=tokenizer,
        max_tokens=model.config.n_positions,
    )
    record = train(
        DrcapExamples(plan, data),
        language_model=model,
        mapper=mapper,
        config=config,
        directory=str(directory / f"{name}-training"),
        resume=True,
        log=lambda line: print(f"{name}: {line}", flush=True),
    )

    def save(path: Path, temperature: float, training: dict[str, object]) -> None:
        save_captioner(
            str(path),
            NewCaptioner(
                clap=ClapIdentity(name="pocket", fingerprint=clap.fingerprint, dim=clap.dim),
                language_model=model,
                tokenizer=tokenizer,
                mapper=mapper,
                prompt=PROMPT,
                projection=ProjectionSettings(temperature=temperature, renormalise=True),
                decode=DECODE,
                training=training,
                half=True,
            ),
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
    story = record.as_json() | {"settings": asdict(settings)}
    save(finished, best, story | {"temperature_table": {f"{t:g}": row for t, row in table.items()}})
    return finished
