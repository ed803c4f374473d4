"""The recipe on human language: DRCap decoders that learn from the captions of AudioCaps and of Clotho.

    python -m benchmarks.real_text [--steps 2500] [--captions ../shared/data/captions] [--audio ../shared/data/audio]

A GPT-2 (4 layers of 256, from scratch) learns each corpus through `train-captioner`, over the pocket CLAP's *text*
tower, which knows the words of fifty sounds only: see :mod:`benchmarks.real_text_data`. Tested on captions of unseen
clips, text to text: perplexity; the caption decoded from one caption's embedding against that caption and against the
clip's four others; with and without contexts and projection; and with the other corpus's decoder, datastore and support
swapped to the target's. Needs the captions of both corpora at hand; the weights are for these tables only. A killed run
goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from benchmarks.real_text_data import HumanCaptions, read_corpora, text_tower_facts
from recipes.caption_arrays import CaptionArrays
from recipes.pocket.recipe import decoder_config, train_tokenizer
from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.clap import Clap, load_clap
from sonogloss.decoding.language_model import load_language_model
from sonogloss.indexes import Datastore
from sonogloss.methods import Captioner, load_captioner
from sonogloss.methods.drcap.examples import DrcapExamples
from sonogloss.methods.drcap.method import RELEASED_DECODE, DrcapSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.mapper import load_mapper
from sonogloss.methods.plan import MapperSettings, TrainingData, TrainingPlan
from sonogloss.metrics import evaluate
from sonogloss.pipelines.train_captioner import train_captioner
from sonogloss.records import FloatArray
from sonogloss.training.batches import Examples, collate
from sonogloss.training.config import TrainingConfig
from sonogloss.training.objective import answer_losses

PROMPT = ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}")
ENTRIES, SEED, TEMPERATURE = 4000, 5, 0.01


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, default=Path("../shared/data/captions"))
    parser.add_argument("--audio", type=Path, default=Path("../shared/data/audio"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--clips", type=int, default=500, help="test clips of each corpus that are captioned")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("bench-output/real-text"))
    parser.add_argument("--short", action="store_true", help="20 steps on 2,000 captions: shows that it runs, not more")
    options = parser.parse_args()
    if not (options.captions / "audiocaps_train.jsonl.gz").exists():
        print(f"{options.captions} holds no AudioCaps and Clotho captions: nothing to measure")
        return
    corpora = read_corpora(options.captions)
    if options.short:
        options.steps, options.clips, options.output = 20, 40, options.output.with_name("real-text-short")
        corpora = {name: _cut(corpus) for name, corpus in corpora.items()}
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    clap = load_clap("pocket")

    report: dict[str, Any] = {"text tower": {n: text_tower_facts(c, clap) for n, c in corpora.items()}}
    base = language_model(options.output / "language-model", corpora)
    report["tokens a caption"] = {n: _tokens_a_caption(c, base) for n, c in corpora.items()}
    print(json.dumps(report, indent=2), flush=True)
    for name, corpus in corpora.items():
        report[f"training {name}"] = learn(corpus, base, options.output, options.steps)
    stores = {name: Datastore.open(str(options.output / name / "corpus")) for name in corpora}
    for name in corpora:
        for target, corpus in corpora.items():
            found = test(options.output / name, corpus, stores[target], clap, options.clips)
            report[f"{name} -> {target}"] = found
            print(f"{name} -> {target}", json.dumps(found, indent=2), flush=True)
    report["real clips"] = hear(options.audio, options.output, stores, clap)
    (options.output / "report.json").write_text(json.dumps(report, indent=2))
    print_tables(report)


def language_model(directory: Path, corpora: dict[str, HumanCaptions]) -> str:
    """An untrained GPT-2 with a tokenizer of both corpora's training captions."""
    if not (directory / "tokenizer.json").exists():
        tokenizer = train_tokenizer((text for c in corpora.values() for text in c.train), ENTRIES)
        torch.manual_seed(SEED)
        config = decoder_config(len(tokenizer))
        config.n_positions = 256
        GPT2LMHeadModel(config).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return str(directory)


def learn(corpus: HumanCaptions, base: str, output: Path, steps: int) -> dict[str, Any]:
    """DRCap as published but for contexts left out of a quarter of the examples, so that it may be asked without."""
    train, validation = corpus.write(output)
    return train_captioner(
        method="drcap",
        captions=str(train),
        validation=str(validation),
        output=str(output / corpus.name),
        language_model=base,
        steps=steps,
        batch_size=64,
        learning_rate=1.5e-3,
        warmup_steps=steps // 15,
        schedule="cosine",
        weight_decay=0.01,
        betas=(0.9, 0.98),
        grad_clip=1.0,
        tune="all",
        precision="bfloat16",
        seed=SEED,
        eval_every=max(1, steps // 5),
        checkpoint_every=max(1, steps // 25),
        band=(0.75, 0.85),
        context_dropout=0.25,
        noise_std_max=0.0,
        template=PROMPT.template,
        instruction=PROMPT.prompt,
        answer=PROMPT.answer,
        mapper_hidden=512,
        beams=4,
        max_new_tokens=50,
        device="cpu",
    )


def test(directory: Path, corpus: HumanCaptions, store: Datastore, clap: Clap, clips: int) -> dict[str, Any]:
    """Perplexities of unseen captions, and scores of what is decoded from the embedding of each clip's first."""
    captioner, chosen = load_captioner(str(directory)), corpus.test[:clips]
    told = [captions[0] for captions in chosen]
    embeddings = clap.embed_text(told)
    projected = store.project(embeddings, temperature=TEMPERATURE, renormalise=True)
    contexts = _contexts(store, embeddings, told)
    none: list[Sequence[str]] = [()] * len(told)
    said = {
        "copy the best context": [row[0] for row in contexts],
        "embedding": captioner.caption(embeddings, none),
        "projection": captioner.caption(projected, none),
        "contexts": captioner.caption(embeddings, contexts),
        "projection and contexts": captioner.caption(projected, contexts),
        "the caption itself": told,
    }
    return {
        "perplexity": perplexities(directory, told, embeddings, store),
        "scores": {name: _scores(texts, chosen) for name, texts in said.items()},
        "examples": [{name: texts[i] for name, texts in said.items()} for i in range(min(8, len(told)))],
    }


def perplexities(directory: Path, told: list[str], embeddings: FloatArray, store: Datastore) -> dict[str, float]:
    """A token and a word, with the caption's own embedding; without contexts also with another caption's."""
    model = load_language_model(str(directory / "language_model"))
    mapper, words = load_mapper(str(directory / "mapper.safetensors")), sum(len(text.split()) for text in told)
    unseen = CaptionArrays(told, embeddings)
    found = {}
    for contexts in (0, 3):
        plan = TrainingPlan(
            training=TrainingConfig(steps=1, batch_size=64, learning_rate=1.0, seed=SEED),
            settings=DrcapSettings(contexts=contexts),
            prompt=PROMPT,
            mapper=MapperSettings(kind="relu"),
            projection=None,
            decode=RELEASED_DECODE,
        )
        data = TrainingData(
            captions=unseen,
            datastore=store,
            validation=unseen,
            tokenizer=model.tokenizer,
            max_tokens=model.max_positions,
        )
        batches = DrcapExamples(plan, data).held_out()
        kinds = {f"{contexts} contexts": batches}
        if contexts == 0:
            kinds["no contexts, another caption's embedding"] = [
                Examples(sequences=b.sequences, embeddings=np.roll(b.embeddings, 1, axis=0)) for b in batches
            ]
        for kind, parts in kinds.items():
            with torch.inference_mode():
                nats = sum(float(answer_losses(model.model, mapper, collate(part)).sum()) for part in parts)
            found[f"{kind}, a token"] = math.exp(nats / sum(part.answers for part in parts))
            found[f"{kind}, a word"] = math.exp(nats / words)
    return found


def hear(folder: Path, output: Path, stores: dict[str, Datastore], clap: Clap) -> list[dict[str, Any]]:
    """Anecdotes: real clips with human captions, each by its own corpus's decoder."""
    told: list[dict[str, Any]] = []
    for name, store in stores.items():
        source = folder / f"{name}_captioned"
        if not (source / "metadata.jsonl").exists():
            continue
        rows = [json.loads(line) for line in (source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
        audio = clap.embed_audio([_first_window(source / row["filename"], clap.sample_rate) for row in rows])
        captioner: Captioner = load_captioner(str(output / name))
        projected = store.project(audio, temperature=TEMPERATURE, renormalise=True)
        said = captioner.caption(projected, [[c.text for c in row] for row in store.search(audio, 3)])
        told += [
            {"clip": row["filename"], "said": text, "told": row["captions"][0]}
            for row, text in zip(rows, said, strict=True)
        ]
    return told


def print_tables(report: dict[str, Any]) -> None:
    """The tables of benchmarks/results/real_text.md."""
    facts = report["text tower"]
    print("\n| the text tower on human captions | " + " | ".join(facts) + " |\n|---|" + "---|" * len(facts))
    for name in next(iter(facts.values())):
        print(f"| {name} | " + " | ".join(f"{facts[corpus][name]:.3f}" for corpus in facts) + " |")
    directions = [name for name in report if " -> " in name]
    print("\n| perplexity | " + " | ".join(directions) + " |\n|---|" + "---|" * len(directions))
    for name in report[directions[0]]["perplexity"]:
        print(f"| {name} | " + " | ".join(f"{report[d]['perplexity'][name]:.1f}" for d in directions) + " |")
    for metric in next(iter(report[directions[0]]["scores"].values())):
        print(f"\n| {metric} | " + " | ".join(directions) + " |\n|---|" + "---|" * len(directions))
        for name in report[directions[0]]["scores"]:
            print(f"| {name} | " + " | ".join(f"{report[d]['scores'][name][metric]:.3f}" for d in directions) + " |")


def _contexts(store: Datastore, embeddings: FloatArray, told: Sequence[str], k: int = 3) -> list[list[str]]:
    """The nearest captions that are not the caption itself, which a sound would not find word for word either."""
    found = store.search(embeddings, 3 * k)
    texts = [[c.text for c in row if c.text.lower() != own.lower()] for row, own in zip(found, told, strict=True)]
    return [row[:k] or ["sound"] for row in texts]


def _scores(said: Sequence[str], clips: Sequence[Sequence[str]]) -> dict[str, float]:
    """Against the caption whose embedding was decoded, and against the clip's others."""
    keys = [str(number) for number in range(len(said))]
    captions = dict(zip(keys, said, strict=True))
    own = evaluate(captions, {k: c[:1] for k, c in zip(keys, clips, strict=True)}, metrics=["cider_d", "bleu_4"])
    others = evaluate(captions, {k: c[1:] for k, c in zip(keys, clips, strict=True)}, metrics=["cider_d", "bleu_4"])
    return {
        f"{row.metric} against {what}": float(row.value)
        for what, found in (("the caption itself", own), ("the four others", others))
        for row in found.corpus
    }


def _tokens_a_caption(corpus: HumanCaptions, base: str) -> dict[str, float]:
    pocket = Path(__file__).parent.parent / "sonogloss" / "pocket" / "weights" / "drcap" / "language_model"
    some = corpus.train[:2000]
    return {
        name: float(np.mean([len(ids) for ids in AutoTokenizer.from_pretrained(path)(some)["input_ids"]]))
        for name, path in (("own tokenizer", base), ("the pocket decoder's", str(pocket)))
    }


def _first_window(path: Path, rate: int) -> np.ndarray:
    clips = cut_clips(path.read_bytes(), Cutting(uri=str(path), policy=WindowPolicy(), sample_rate=rate))
    return next(iter(clips)).samples


def _cut(corpus: HumanCaptions) -> HumanCaptions:
    return replace(corpus, train=corpus.train[:2000], validation=corpus.validation[:100])


if __name__ == "__main__":
    main()
