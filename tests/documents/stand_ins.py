"""What the documents name and a test cannot have: small models under their hub ids, and a reader's files.

The models are random and tiny, and lie in a cache of the model hub's own layout: commands name the hub id and load them
through the same code that would fetch them. The files are those that the pages assume a reader to have.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import soundfile
import torch

from tests.conftest import write_tiny_clap
from tests.laion_checkpoints import laion_state, tiny_model, write_checkpoint, write_tokenizer
from tests.language_models import SENTENCES, tiny_llama, tiny_tokenizer
from tests.sentence_models import write_sentence_model
from tests.tower_checkpoints import write_bert_tokenizer, write_tower_checkpoint

RATE = 32000
CLASSES = ["dog", "cat", "rain", "engine", "bell", "man", "door", "siren"]
BUCKET = "memory://my-bucket"
"""Stands for the bucket of the pages about Dataflow."""


def write_hub_cache(cache: Path) -> None:
    """The models that the documents name by hub id."""
    _write_model(cache, "laion/clap-htsat-unfused", write_tiny_clap)
    _write_model(cache, "HuggingFaceTB/SmolLM2-135M", _write_language_model)
    _write_model(cache, "roberta-base", _write_roberta_tokenizer)
    _write_model(cache, "bert-base-uncased", _write_bert_tokenizer)
    _write_model(cache, "sentence-transformers/paraphrase-TinyBERT-L6-v2", write_sentence_model)


def _write_model(cache: Path, hub_id: str, write: Callable[[Path], object]) -> None:
    folder = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    write(snapshot)


def _write_language_model(directory: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():  # special tokens become unlikely, so no caption is empty
        model.lm_head.weight[:3] = 0
    model.save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)


def _write_roberta_tokenizer(directory: Path) -> None:
    write_tokenizer(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": "roberta"}))  # offline, the name needs one


def _write_bert_tokenizer(directory: Path) -> None:
    write_bert_tokenizer(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": "bert"}))


def write_files(folder: Path) -> None:
    """The files of a reader, under the names that the documents give them."""
    sounds = [folder / "a.wav"]
    sounds += [
        folder / base / name for base in ("recordings", "more-recordings") for name in ("dog.flac", "b/rain.flac")
    ]
    sounds += [folder / "clips" / label / f"{number}.wav" for label in CLASSES for number in (1, 2)]
    for number, path in enumerate(sounds):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_sound(number, path.suffix[1:]))

    rows = "".join(json.dumps({"text": text}) + "\n" for text in SENTENCES)
    _write(folder / "captions" / "captions.jsonl.gz", gzip.compress(rows.encode()))
    _write(folder / "audiocaps" / "train.csv", _csv(["youtube_id", "caption"], enumerate(SENTENCES)))
    _write(folder / "audiocaps" / "val.csv", _csv(["youtube_id", "caption"], enumerate(SENTENCES[:4])))
    _write(folder / "general.txt.gz", gzip.compress("\n".join(SENTENCES[:20]).encode()))
    _write(folder / "birds.txt", "\n".join(SENTENCES[20:]).encode())
    _write(folder / "held-out.txt", "\n".join(SENTENCES[:4]).encode())
    _write(folder / "labels.txt", "\n".join(CLASSES).encode())
    _write(folder / "examples.txt", b"rain falls\n")
    _write(folder / "class_labels_indices.csv", _csv(["index", "mid", "display_name"], [(0, "/m/0", "Dog, bark")]))
    references = [{"file_name": name, "references": SENTENCES[:2]} for name in ("dog.flac", "rain.flac")]
    _write(folder / "references.jsonl", "".join(json.dumps(row) + "\n" for row in references).encode())
    others = [{"file_name": name, "caption": SENTENCES[0]} for name in ("dog.flac", "rain.flac")]
    _write(folder / "other.jsonl", "".join(json.dumps(row) + "\n" for row in others).encode())
    _write(folder / "truth.csv", _csv(["file_name", "label"], [("dog.flac", "dog"), ("rain.flac", "rain")]))


def write_checkpoint_files(folder: Path) -> None:
    """Checkpoints of LAION and MS-CLAP, random, with the vocabularies of the hub's tokenizers."""
    vocabulary = write_tokenizer(folder / "unused-tokenizer")
    write_checkpoint(folder / "630k-audioset-best.pt", laion_state(tiny_model(vocabulary)))
    _, path, _ = write_tower_checkpoint(folder / "unused-tokenizer", "msclap2022")
    path.rename(folder / "CLAP_weights_2022.pth")


def write_bucket(folder: Path) -> None:
    """Copy recordings and captions to the bucket."""
    memory = fsspec.filesystem("memory")
    for path in (path for name in ("recordings", "captions") for path in (folder / name).rglob("*.*")):
        memory.pipe_file(f"{BUCKET}/{path.relative_to(folder)}", path.read_bytes())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _csv(names: list[str], rows: object) -> bytes:
    target = io.StringIO()
    writer = csv.writer(target)
    writer.writerow(names)
    writer.writerows(rows)  # type: ignore[arg-type]
    return target.getvalue().encode()


def _sound(seed: int, container: str) -> bytes:
    """Half a second of a tone in noise, another one for each seed."""
    time = np.arange(RATE // 2) / RATE
    noise = np.random.default_rng(seed).standard_normal(time.size)
    target = io.BytesIO()
    soundfile.write(target, 0.3 * np.sin(2 * np.pi * 150 * (seed + 1) * time) + 0.05 * noise, RATE, format=container)
    return target.getvalue()
