"""Make and release `pocket:soft-hard`: soft and hard prompts for the pocket CLAP, and a small GPT-2 of its own.

python -m recipes.pocket --soft-hard            trains mapper and language model, some minutes on two cores
python -m benchmarks.pocket_quality --captioner pocket-training/soft-hard --output bench-output/soft-hard-quality
python -m recipes.pocket --soft-hard --release  puts it into the package, with a card of what was measured
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from recipes.caption_arrays import CaptionArrays
from recipes.pocket.decoder import training_config
from recipes.pocket.recipe import PocketRecipe, decoder_config, load_tokenizer
from recipes.pocket.release import WEIGHTS, ship
from sonogloss.clap import load_clap
from sonogloss.methods import ClapIdentity, NewCaptioner, save_captioner
from sonogloss.methods.labels import embed_labels
from sonogloss.methods.mapper import TanhMapper
from sonogloss.methods.plan import MapperSettings, TrainingData, TrainingPlan
from sonogloss.methods.soft_hard.examples import SoftHardExamples
from sonogloss.methods.soft_hard.method import RELEASED_DECODE, SoftHardSettings
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.soundscapes import CLASSES, caption_dump
from sonogloss.training.loop import train

LARGEST = 10_000_000  # bytes
FOLDERS = {"pocket": "soft-hard", "pocket:ordered": "soft-hard-ordered"}  # by the CLAP below
PROMPT = SoftHardPrompt(max_answer_tokens=48)  # the longest sentences of the grammar have more than the released 25

CARD = """---
license: apache-2.0
---

# sonogloss pocket soft-hard

Soft and hard prompts (Zhang et al. 2024) for the pocket CLAP: the four nearest of its fifty sounds are named in a hard
prompt, the audio embedding becomes ten soft prompt vectors, and a GPT-2 continues both; {parameters:.1f} million
parameters, float16, trained from scratch on **text alone**: captions of our own grammar. It says what the fifty sounds
of the pocket CLAP do, and nothing else. Prompt, search and training record: `captioner.json`; vocabulary: `labels/`.

Where the published method takes a language model that has read the web, this one begins with nothing. Labels are left
out by chance (0.4) and embeddings borrowed from one of the five nearest captions, as published; the variance of the
noise is {noise:g}, which leaves a cosine of about 0.92 with the clean embedding.

## Scores

{scenes} held-out synthetic scenes, five references each. The rows with a projection carry the embedding onto a
datastore of grammar captions first, which the published method does not.

| condition | CIDEr-D | event F1 |
|---|---|---|
{table}

## License

Apache-2.0.
"""


def make_soft_hard(directory: Path, recipe: PocketRecipe, *, clap_name: str = "pocket") -> Path:
    """Train and write `directory/soft-hard` over the released CLAP, or `soft-hard-ordered` over `clap-ordered` there.

    Nothing is done when it is there.
    """
    name = FOLDERS[clap_name]
    finished = directory / name
    if (finished / "captioner.json").exists():
        return finished
    clap = load_clap(clap_name if clap_name == "pocket" else str(directory / "clap-ordered"))
    tokenizer = load_tokenizer(WEIGHTS / "clap")
    captions = list(dict.fromkeys(caption_dump(recipe.decoder_captions, recipe.seed + 1)))
    held_out = list(dict.fromkeys(caption_dump(600, recipe.seed + 3)))
    labels = embed_labels([sound.label for sound in CLASSES.values()], clap)
    settings = SoftHardSettings(neighbours=5, mask=0.4, noise_variance=recipe.soft_hard_noise)
    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(decoder_config(len(tokenizer), width=192, layers=3))
    mapper = TanhMapper(clap.dim, model.config.n_embd, slots=PROMPT.soft_slots)
    config = replace(training_config(recipe), steps=recipe.soft_hard_steps)
    plan = TrainingPlan(
        training=config,
        settings=settings,
        prompt=PROMPT,
        mapper=MapperSettings(kind="mlp"),
        projection=None,
        decode=RELEASED_DECODE,
    )
    corpus = CaptionArrays(captions, clap.embed_text(captions))
    data = TrainingData(
        captions=corpus,
        datastore=corpus,
        labels=labels,
        tokenizer=tokenizer,
        max_tokens=model.config.n_positions,
        validation=CaptionArrays(held_out, clap.embed_text(held_out)),
    )
    record = train(
        SoftHardExamples(plan, data),
        language_model=model,
        mapper=mapper,
        config=config,
        directory=str(directory / f"{name}-training"),
        resume=True,
        log=lambda line: print(f"{name}: {line}", flush=True),
    )
    save_captioner(
        str(finished),
        NewCaptioner(
            clap=ClapIdentity(name=clap_name, fingerprint=clap.fingerprint, dim=clap.dim),
            language_model=model,
            tokenizer=tokenizer,
            mapper=mapper,
            prompt=PROMPT,
            projection=None,
            contexts=0,
            decode=replace(RELEASED_DECODE, max_new_tokens=48, batch_size=32),
            labels=labels,
            training=record.as_json() | {"settings": asdict(settings)},
            half=True,
        ),
    )
    return finished


def release_soft_hard(directory: Path, reports: Path) -> None:
    """Copy `directory/soft-hard` into the package, with a card of what `benchmarks.pocket_quality` measured of it."""
    measured = json.loads((reports / "soft-hard-quality" / "report.json").read_text())
    source = directory / "soft-hard"
    weights = sum(path.stat().st_size for path in source.rglob("*.safetensors"))
    rows = [f"| {name} | {row['cider_d']:.3f} | {row['event_f1']:.3f} |" for name, row in measured["captions"].items()]
    card = CARD.format(
        parameters=weights / 2e6,
        noise=json.loads((source / "captioner.json").read_text())["training"]["settings"]["noise_variance"],
        scenes=measured["scenes"],
        table="\n".join(rows),
    )
    ship(source, "soft-hard", card, largest=LARGEST)
