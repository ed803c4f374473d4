r"""How many recordings of a class does the study CLAP need to know it?

    make real     # makes study-clap, and features of every clip
    .venv-real/bin/python -m benchmarks.study_classes

Most of ESC-50's 50 classes have no clip among those that `make real` learns from. Here a few recordings of each such
class are taken from fold 4 and learned from, too, and the rest of the fold is measured; no recording is on both sides.
So this says what the recipe would give with more pairs. What `make real` itself gives is the row without any.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recipes.real.study_clap.__main__ import embed_categories, make_pairs
from recipes.real.study_clap.clips import Clip, read_clips
from recipes.real.study_clap.heads import HeadRecipe, Heads, train_heads
from recipes.real.study_clap.text_tower import TextTower


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, default=Path("../shared/data/audio"))
    parser.add_argument("--clap", type=Path, default=Path("study-clap"), help="what `make real` made")
    parser.add_argument("--recordings", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--short", action="store_true", help="one draw, of one recording a class")
    arguments = parser.parse_args()
    folder = next(arguments.clap.parent.glob(f"{arguments.clap.name}-features-*"), None)
    if not arguments.audio.is_dir() or folder is None:
        print(f"no clips in {str(arguments.audio)!r} or no features beside {str(arguments.clap)!r}: nothing to measure")
        return
    clips = read_clips(arguments.audio)
    features = [torch.from_numpy(np.load(folder / f"{clip.name}.npy", allow_pickle=False)) for clip in clips]
    texts = TextTower(arguments.clap / "text")
    print("| recordings of a class | clips | fold | classes of other folds | classes of these recordings |")
    print("|---|---|---|---|---|")
    for recordings in [1] if arguments.short else arguments.recordings:
        draws = 1 if arguments.short or not recordings else arguments.draws
        divided = [learn_from(clips, recordings, draw) for draw in range(draws)]
        rows = [accuracy(each, clips, trained(each, features, texts), features, texts) for each in divided]
        clips_a_class, *shares = np.mean(rows, axis=0)
        print(f"| {recordings} | {clips_a_class:.1f} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)


def learn_from(clips: Sequence[Clip], recordings: int, draw: int) -> list[Clip]:
    """The clips, with up to so many recordings of each new class of fold 4 to learn from; one at least stays."""
    known, rng = _learned(clips), np.random.default_rng(draw)
    taken: set[tuple[str, str]] = set()
    for kind in sorted({clip.kind for clip in clips if _tests(clip)} - known):
        sources = sorted({_source(clip) for clip in clips if _tests(clip) and clip.kind == kind})
        chosen = rng.permutation(sources)[: min(recordings, len(sources) - 1)]
        taken |= {(kind, str(source)) for source in chosen}
    return [
        replace(clip, use="train") if _tests(clip) and (clip.kind, _source(clip)) in taken else clip for clip in clips
    ]


def trained(clips: Sequence[Clip], features: Sequence[Tensor], texts: TextTower) -> Heads:
    """Heads of the recipe."""
    return train_heads(make_pairs(list(clips), list(features), texts), embed_categories(texts), HeadRecipe())


def accuracy(
    divided: Sequence[Clip], clips: Sequence[Clip], heads: Heads, features: Sequence[Tensor], texts: TextTower
) -> tuple[float, float, float, float]:
    """Clips learned from a new class; and accuracy: of the fold, of its known classes, of its new ones.

    That of the fold weighs known and new classes as the whole fold has them, whatever was taken out of it.
    """
    known = _learned(clips)
    rows = [row for row, clip in enumerate(divided) if _tests(clip)]
    names = sorted({clip.kind for clip in clips if _tests(clip)})
    with torch.inference_mode():
        named = heads.text(torch.from_numpy(texts([name.replace("_", " ") for name in names])))
        audio = torch.stack([functional.normalize(heads.audio(features[row]).mean(dim=0), dim=0) for row in rows])
    right = [names[place] == divided[row].kind for place, row in zip((audio @ named.T).argmax(1), rows, strict=True)]
    hits = np.array(right, float)
    old = np.array([divided[row].kind in known for row in rows])
    whole = [clip.kind in known for clip in clips if _tests(clip)]
    share = float(np.mean(whole))
    of_old, of_new = float(hits[old].mean()), float(hits[~old].mean())
    learned = (len(whole) - len(rows)) / len(set(names) - known)
    return learned, share * of_old + (1 - share) * of_new, of_old, of_new


def _learned(clips: Sequence[Clip]) -> set[str]:
    return {clip.kind for clip in clips if clip.use == "train"}


def _tests(clip: Clip) -> bool:
    return clip.source == "esc" and clip.use == "test"


def _source(clip: Clip) -> str:
    """The recording that a clip of ESC-50 was cut from: the second part of its name, FOLD-SOURCE-TAKE-CLASS."""
    return Path(clip.name).name.split("-")[1]


if __name__ == "__main__":
    main()
