"""The decoders that are compared on two domains: how each learns, and in which conditions each is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.base_language_model import load_base
from benchmarks.domains import LABELS, Domain, Store
from recipes.caption_arrays import CaptionArrays
from sonogloss.clap import Clap
from sonogloss.methods import ClapIdentity, DecodeSettings, NewCaptioner, ProjectionSettings, save_captioner
from sonogloss.methods.drcap.examples import DrcapExamples
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.labels import embed_labels
from sonogloss.methods.mapper import make_mapper
from sonogloss.methods.plan import MapperSettings, TrainingData, TrainingPlan
from sonogloss.methods.soft_hard.examples import SoftHardExamples
from sonogloss.methods.soft_hard.method import SoftHardSettings
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.training.config import TrainingConfig
from sonogloss.training.loop import train

DRCAP_PROMPT = ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}")
SOFT_HARD_PROMPT = SoftHardPrompt(max_answer_tokens=40)
DECODE = DecodeSettings(num_beams=1, max_new_tokens=40, batch_size=50)
# The band and the noise of the pocket captioner, measured for its CLAP. A quarter of the examples is shown without
# contexts: one decoder is asked with and without them here, and neither case is to be foreign to it.
DRCAP = DrcapSettings(band=(0.90, 0.97), context_dropout=0.25)
NOISE_STD, NOISE_VARIANCE = 0.05, 7.5e-4  # both leave a mean cosine of 0.916 with the clean embedding
SOFT_HARD = SoftHardSettings(neighbours=5, mask=0.4)
TEMPERATURE = 0.01  # the pocket captioner's


@dataclass(frozen=True, kw_only=True)
class Method:
    """A decoder's name and how it learns.

    The adapters' learning rate is the better of two by validation loss, on text alone; the others were set beforehand.
    """

    name: str
    title: str
    learning_rate: float
    tune: str = "all"
    noise: bool = False
    prompt: ComposedPrompt | SoftHardPrompt = DRCAP_PROMPT

    @property
    def drcap(self) -> bool:
        """Does it read contexts?"""
        return isinstance(self.prompt, ComposedPrompt)


METHODS = {
    method.name: method
    for method in (
        Method(name="drcap-lora", title="DRCap, LoRA", tune="lora", learning_rate=1e-2),
        Method(name="drcap-frozen", title="DRCap, frozen language model", tune="none", learning_rate=1e-2),
        Method(name="drcap-full", title="DRCap, all weights", learning_rate=1e-3),
        Method(name="drcap-lora-noise", title="DRCap, LoRA, noise", tune="lora", learning_rate=1e-2, noise=True),
        Method(name="soft-hard", title="soft and hard", learning_rate=1e-3, prompt=SOFT_HARD_PROMPT),
        Method(name="soft", title="soft only", learning_rate=1e-3, prompt=replace(SOFT_HARD_PROMPT, hard=False)),
        Method(name="hard", title="hard only", learning_rate=1e-3, prompt=replace(SOFT_HARD_PROMPT, soft=False)),
        Method(
            name="soft-hard-noise",
            title="soft and hard, noise",
            learning_rate=1e-3,
            noise=True,
            prompt=SOFT_HARD_PROMPT,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything; the defaults are the study's, `SHORT` only shows that it runs."""

    scenes: int = 300
    store: int = 10_000
    captions: int = 12_000
    base_steps: int = 600
    steps: int = 200
    batch: int = 64


SHORT = Sizes(scenes=60, store=1_000, captions=1_000, base_steps=40, steps=20, batch=32)


def train_method(
    method: Method, domain: Domain, store: Store, clap: Clap, base: Path, seed: int, sizes: Sizes, directory: Path
) -> Path:
    """Train a method on one domain's captions; a captioner directory. A killed training goes on where it was."""
    finished = directory / f"{method.name}-{domain.name}-{seed}"
    if (finished / "captioner.json").exists():
        return finished
    model, tokenizer = load_base(base)
    torch.manual_seed(seed)
    texts, held_out = domain.captions(sizes.captions, 1 + seed), domain.captions(400, 1000 + seed)
    captions, validation = (CaptionArrays(t, clap.embed_text(t)) for t in (texts, held_out))
    bank = embed_labels(LABELS, clap) if method.prompt.label_count else None
    config = TrainingConfig(
        steps=sizes.steps,
        batch_size=sizes.batch,
        learning_rate=method.learning_rate,
        warmup_steps=sizes.steps // 10,
        schedule="cosine",
        weight_decay=0.01,
        betas=(0.9, 0.98),
        grad_clip=1.0,
        tune=method.tune,
        precision="bfloat16",
        seed=seed,
        eval_every=max(1, sizes.steps // 4),
        checkpoint_every=max(1, sizes.steps // 4),
    )
    settings = (
        replace(DRCAP, noise_std_max=NOISE_STD if method.noise else 0.0)
        if method.drcap
        else replace(SOFT_HARD, noise_variance=NOISE_VARIANCE if method.noise else 0.0)
    )
    sizes_of_mapper = MapperSettings(kind="relu" if method.drcap else "mlp", hidden=512)
    mapper = make_mapper(sizes_of_mapper, dim=clap.dim, width=model.config.n_embd, slots=method.prompt.audio_slots)
    plan = TrainingPlan(
        training=config, settings=settings, prompt=method.prompt, mapper=sizes_of_mapper, projection=None, decode=DECODE
    )
    data = TrainingData(
        captions=captions,
        datastore=CaptionArrays(store.texts, store.embeddings),
        tokenizer=tokenizer,
        max_tokens=int(model.config.n_positions),
        validation=validation,
        labels=bank,
    )
    record = train(
        DrcapExamples(plan, data) if method.drcap else SoftHardExamples(plan, data),
        language_model=model,
        mapper=mapper,
        config=config,
        directory=str(directory / f"{finished.name}-training"),
        resume=True,
        log=lambda line: print(f"{finished.name}: {line}", flush=True),
    )
    save_captioner(
        str(finished),
        NewCaptioner(
            clap=ClapIdentity(name="pocket", fingerprint=clap.fingerprint, dim=clap.dim),
            language_model=record.language_model,
            tokenizer=tokenizer,
            mapper=mapper,
            prompt=method.prompt,
            projection=ProjectionSettings(temperature=TEMPERATURE, renormalise=True) if method.drcap else None,
            contexts=3 if method.drcap else 0,
            decode=DECODE if method.drcap else replace(DECODE, scoring="average", stop=(".",)),
            labels=bank,
            training=record.as_json(),
            base=None if method.tune == "all" else str(base),
        ),
    )
    return finished


def conditions(method: Method, *, cross: bool) -> Sequence[tuple[str, str, str]]:
    """(name, contexts, embedding) of every condition.

    Contexts come from nowhere, the target's or the source's store; the embedding is the sound's own (`raw`), projected
    on the target's or the source's support, or a true caption's (`oracle`).
    """
    if not method.drcap:
        return (("raw", "none", "raw"), ("projection", "none", "target"), ("oracle", "none", "oracle"))
    asked = [
        ("raw", "none", "raw"),
        ("projection", "none", "target"),
        ("contexts", "target", "raw"),
        ("both", "target", "target"),
        ("oracle", "none", "oracle"),
    ]
    if cross and method.name == "drcap-lora":
        asked += [
            ("nothing swapped", "source", "source"),
            ("only contexts swapped", "target", "source"),
            ("only support swapped", "source", "target"),
        ]
    return asked
