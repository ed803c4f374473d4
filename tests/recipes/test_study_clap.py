"""The study CLAP's own parts, on random weights; what its towers carry is in packages that no test needs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

from recipes.real.study_clap.audio_tower import RATE, WIDTH, AudioTower, read_audio_tower
from recipes.real.study_clap.backend import PARTS, StudyClap, open_clap
from recipes.real.study_clap.categories import CATEGORIES
from recipes.real.study_clap.clips import label_sentences, read_clips, windows
from recipes.real.study_clap.heads import HeadRecipe, Heads, Pairs, train_heads
from recipes.real.study_clap.measure import measure
from sonogloss.errors import MissingInputError, ModelFormatError


def tower(seed: int = 0) -> AudioTower:
    torch.manual_seed(seed)
    return AudioTower().eval().requires_grad_(requires_grad=False)


def sound(seconds: float, seed: int = 0) -> np.ndarray[Any, Any]:
    return 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE)).astype(np.float32)


def test_three_classifiers_have_names_in_alphabetical_order() -> None:
    names = [category.name for category in CATEGORIES]
    assert names == sorted(names)
    assert [sum(number in each.classifiers for each in CATEGORIES) for number in (0, 1, 2)] == [78, 79, 69]


def test_a_checkpoint_of_the_package_is_read_as_tensors(tmp_path: Path) -> None:
    made = tower(3)
    named = {
        (name.replace("classifiers.", "fc.") if name.startswith("classifiers.") else f"embedding_net.{name}"): tensor
        for name, tensor in made.state_dict().items()
    }
    torch.save((named | {"fc.3.0.weight": torch.zeros(2, 2)}, {"library": (0, 78)}), tmp_path / "checkpoint.pth")
    read = read_audio_tower(str(tmp_path / "checkpoint.pth"))
    clip = torch.from_numpy(sound(0.3))
    assert torch.equal(read(clip), made(clip))
    del named["fc.1.4.bias"]
    torch.save((named, {}), tmp_path / "checkpoint.pth")
    with pytest.raises(ModelFormatError, match="not the CNN of aisfx"):
        read_audio_tower(str(tmp_path / "checkpoint.pth"))


@pytest.mark.parametrize("seconds", [0.01, 0.5])
def test_a_clip_of_any_length_gives_features_and_probabilities(seconds: float) -> None:
    rows = tower()(torch.from_numpy(sound(seconds)))
    assert rows.shape == (WIDTH,)
    assert torch.isfinite(rows).all()
    probabilities = rows[-len(CATEGORIES) :]
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)
    assert [float(p) for p, each in zip(probabilities, CATEGORIES, strict=True) if not each.classifiers] == [0.0]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    words = {"[UNK]": 0, "rain": 1, "dog": 2, "bell": 3, "loud": 4}
    vocabulary = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(1)
    config = BertConfig(vocab_size=5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder / "text")
    vocabulary.save(str(folder / "text" / "tokenizer.json"))
    heads = Heads(torch.zeros(WIDTH), torch.ones(WIDTH), torch.randn(len(CATEGORIES), 16))
    save_file(tower().state_dict(), folder / "audio.safetensors")
    save_file(heads.state_dict(), folder / "heads.safetensors")
    (folder / "study.json").write_text("{}")
    return folder


def test_a_clap_gives_unit_rows_that_do_not_depend_on_neighbors(directory: Path) -> None:
    clap = open_clap(str(directory), name="study:x", device="cuda")  # it stays on the CPU
    assert (clap.name, clap.dim, clap.temperature) == ("study:x", 17, 1.0)
    texts = ["rain", "dog dog bell", "loud rain bell dog dog"]
    together = clap.embed_text(texts)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.array_equal(together[::-1], clap.embed_text(texts[::-1]))
    sounds = [sound(0.3), sound(0.2, 1)]
    assert np.array_equal(clap.embed_audio(sounds)[1:], clap.embed_audio(sounds[1:]))


def test_its_fingerprint_is_that_of_its_parts(directory: Path, tmp_path: Path) -> None:
    clap = StudyClap.open(directory, name="study")
    for part in PARTS:
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_bytes((directory / part).read_bytes())
    (tmp_path / "text" / "config.json").write_bytes((directory / "text" / "config.json").read_bytes())
    assert StudyClap.open(tmp_path, name="copy").fingerprint == clap.fingerprint
    (tmp_path / "study.json").write_text('{"changed": 1}')
    assert StudyClap.open(tmp_path, name="copy").fingerprint != clap.fingerprint
    (tmp_path / "heads.safetensors").unlink()
    with pytest.raises(ModelFormatError, match=r"heads\.safetensors"):
        StudyClap.open(tmp_path, name="copy")
    with pytest.raises(MissingInputError, match="not a directory"):
        StudyClap.open(tmp_path / "nowhere", name="nowhere")


def test_heads_learn_pairs_and_begin_without_any() -> None:
    torch.manual_seed(2)
    names = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    texts = torch.nn.functional.normalize(torch.randn(6, 8), dim=-1)
    clips = torch.rand(60, 12 + 5)
    clips[:, :6] += 3 * torch.eye(6).repeat(10, 1)  # six kinds of sound
    kinds = [f"kind {row % 6}" for row in range(60)]
    pairs = Pairs(
        audio=clips,
        texts=texts,
        sentences=[[row % 6] for row in range(60)],
        kinds=kinds,
        synthetic=torch.tensor([row >= 54 for row in range(60)]),
    )

    def right(heads: Heads) -> float:
        found = (heads.audio(clips) @ heads.text(texts).T).argmax(dim=1)
        return float((found == torch.arange(60) % 6).float().mean())

    start = train_heads(pairs, names, HeadRecipe(steps=0))
    assert torch.equal(start.of_text.weight, torch.eye(8))
    recipe = HeadRecipe(steps=150, batch=32, learning_rate=0.02, category_weight=1.0)
    heads = train_heads(pairs, names, recipe)
    assert right(heads) > max(0.9, right(start))
    assert torch.equal(heads.of_audio.weight, train_heads(pairs, names, recipe).of_audio.weight)


def test_a_text_that_is_near_many_training_clips_is_held_against_its_nearness() -> None:
    torch.manual_seed(4)
    heads = Heads(torch.zeros(3 + 4), torch.ones(3 + 4), torch.zeros(4, 4), clips=0)
    heads.requires_grad_(requires_grad=False).of_audio.weight[:, 3:] = torch.eye(4)
    clips = torch.cat([torch.zeros(8, 3), torch.eye(4)[[0, 0, 0, 0, 0, 0, 1, 2]]], dim=1)
    texts = torch.eye(4)  # the first is near six clips, the second and third near one, the last near none
    before = heads.audio(clips) @ heads.text(texts).T
    assert before.argmax(dim=1).tolist() == [0, 0, 0, 0, 0, 0, 1, 2]
    heads.hold_against(clips, texts, weight=0.6)
    nearness = heads.nearness(heads.text_direction(texts))
    assert nearness.tolist() == pytest.approx([1.0, 0.2, 0.2, 0.0])  # the mean of the five nearest
    between = torch.tensor([[0.0, 0.0, 0.0, 0.7, 0.7, 0.0, 0.0]])
    found = (heads.audio(torch.cat([clips, between])) @ heads.text(texts).T).argmax(dim=1)
    assert found.tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 1]
    rows = torch.randn(5, 4)
    assert torch.allclose(heads.text(rows).norm(dim=1), torch.ones(5))
    # Up to the text's length, what is found is the cosine less the weighted nearness beyond that of a typical text.
    plain = heads.audio_direction(clips) @ heads.text_direction(texts).T
    expected = plain - 0.6 * (nearness - nearness.mean())
    sizes = (1 + (0.6 / 0.5 * (nearness - nearness.mean())) ** 2).sqrt() * (1 + 0.5**2) ** 0.5
    assert torch.allclose(heads.audio(clips) @ heads.text(texts).T, expected / sizes, atol=1e-6)


def write_table(folder: Path, rows: list[dict[str, str]]) -> None:
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_test_folds_and_captioned_clips_are_never_learned_from(tmp_path: Path) -> None:
    folds = [{"filename": f"{fold}.wav", "class": "sea_waves", "fold": str(fold)} for fold in (1, 3, 4, 5)]
    write_table(tmp_path / "esc", folds)
    write_table(tmp_path / "urbansound8k", [folds[0], {**folds[0], "fold": "2"}])
    write_table(tmp_path / "recordings", [{"filename": "a.wav", "label": "a stream"}])
    with pytest.raises(MissingInputError, match="audiotime_demo"):
        read_clips(tmp_path)
    for name, captions in (("audiotime_demo", {"caption": "x"}), ("clotho_captioned", {"captions": ["y", "z"]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.jsonl").write_text(json.dumps({"filename": "b.wav", **captions}) + "\n")
    (tmp_path / "audiocaps_captioned").mkdir()
    (tmp_path / "audiocaps_captioned" / "metadata.jsonl").write_text("")
    clips = read_clips(tmp_path)
    uses = [(clip.source, clip.use) for clip in clips if clip.source != "synthetic"]
    assert uses == [
        *[("esc", use) for use in ("train", "train", "test")],
        *[("urbansound8k", use) for use in ("train", "test")],
        ("recordings", "train"),
        ("audiotime_demo", "train"),
        ("clotho_captioned", "captioned"),
    ]
    assert clips[0].sentences == label_sentences("sea waves")
    soundfile.write(tmp_path / "esc" / "1.wav", np.zeros((23 * 8000, 2)), 8000)
    assert [len(window) / RATE for window in windows(clips[0])] == [10, 10, 3]
    [rendered] = windows(clips[-1])
    assert np.array_equal(rendered, windows(clips[-1])[0])


def test_scores_count_what_is_found_among_classes_and_captions(tmp_path: Path) -> None:
    write_table(tmp_path / "esc", [{"filename": f"{n}", "class": n, "fold": "4"} for n in ("dog", "rain", "bell")])
    write_table(tmp_path / "urbansound8k", [{"filename": "s", "class": "siren", "fold": "2"}])
    write_table(tmp_path / "recordings", [{"filename": "d", "label": "dog"}])
    for name in ("audiotime_demo", "audiocaps_captioned", "clotho_captioned"):
        (tmp_path / name).mkdir()
        lines = [{"filename": str(n), "captions": [f"caption {n}"]} for n in range(12)] if "clotho" in name else []
        (tmp_path / name / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    clips = [clip for clip in read_clips(tmp_path) if clip.source != "synthetic"]
    places = {"dog": 0, "rain": 1, "bell": 2, "siren": 3} | {f"caption {n}": 4 + n for n in range(12)}

    def embed(texts: list[str]) -> torch.Tensor:
        return torch.eye(16)[[places[text] for text in texts]]

    audio = embed(["dog", "bell", "bell", "siren", "dog", *[f"caption {n}" for n in range(12)]])
    scores = measure(clips, audio, embed).as_json()
    assert scores["esc test fold, 3 classes"] == {"value": 0.6667, "low": 0.0, "high": 1.0, "clips": 3}
    assert scores["esc, classes learned from"]["value"] == 1.0
    assert scores["esc, classes never learned from"]["value"] == 0.5
    assert scores["audio to text R@10, captioned clips"]["value"] == 1.0
