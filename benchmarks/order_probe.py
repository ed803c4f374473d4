"""Does a CLAP hold the order of two sounds at all, and where is it lost?

    python -m benchmarks.order_probe [--clap pocket]

Pairs of synthetic clips, A then B and B then A. A linear probe (ridge regression onto "this class came first", "this
one second") learns from some recordings and is asked, of others, which of the two classes came first: chance is 0.5. It
reads the embedding, the audio tower's mean over time, that mean over halves and quarters of the window, and the whole
last map. The same probe reads the sentences "A before B", and their cosines with "B before A" are printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.temporal_material import measured
from sonogloss.clap.frames import frame_states
from sonogloss.temporal.batches import PairBatches
from sonogloss.temporal.clips import hold_out_sources, soundscape_clips
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.features import ClipPowers
from sonogloss.temporal.sentences import sentence
from sonogloss.temporal.sequences import PairGroup, Variant, draw_groups
from sonogloss.temporal.towers import Towers, unit

RIDGE = (1e1, 1e2, 1e3, 1e4)
Features = dict[str, npt.NDArray[np.float64]]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clap", default="pocket")
    parser.add_argument("--per-class", type=int, default=30)
    parser.add_argument("--pairs", type=int, default=900)
    parser.add_argument("--output", type=Path, default=Path("bench-output/temporal"))
    parser.add_argument("--short", action="store_true", help="8 clips a class, 300 pairs")
    options = parser.parse_args()
    if options.short:
        options.per_class, options.pairs = 8, 300
    config = PostTrainConfig(precision="bfloat16")
    towers = Towers(options.clap, config)
    towers.eval()
    clips = soundscape_clips(options.per_class, split="train-0")
    powers = ClipPowers(measured(options.output, f"clips-{options.per_class}", clips, config.pairs))
    train, test = hold_out_sources(powers.clips, 0.3)
    learnt = draw_groups(train, options.pairs, seed=1)
    asked = draw_groups(test, options.pairs // 3, seed=2)
    labels = sorted({clip.label for clip in powers.clips})
    report: dict[str, object] = {"clap": options.clap, "pairs": [len(learnt), len(asked)]}
    sounds = [
        _heard(towers, PairBatches("B", powers, powers.clips, towers.mel, config), part) for part in (learnt, asked)
    ]
    texts = [_said(towers, part) for part in (learnt, asked)]
    for modality, (known, new) in (("audio", sounds), ("text", texts)):
        for name in known:
            report[f"{modality}: {name}"] = _probe(known[name], new[name], learnt, asked, labels)
    for modality, new in (("audio", sounds[1]), ("text", texts[1])):
        rows = new["embedding"].reshape(2, len(asked), -1)
        report[f"{modality}: cosine of both orders"] = float((rows[0] * rows[1]).sum(-1).mean())
    path = options.output / f"order-probe-{Path(options.clap).name}.json"
    path.write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))


@torch.no_grad()
def _heard(towers: Towers, batches: PairBatches, groups: Sequence[PairGroup]) -> Features:
    """What is read of the sounds: all forward clips, then all reverse ones."""
    found: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(groups), 32):
        part = groups[start : start + 32]
        mels = batches.of(part, salt=start).mels[: 2 * len(part)]
        with torch.autocast("cpu", torch.bfloat16):
            output = towers.model.audio_model(
                input_features=mels, is_longer=torch.zeros(len(mels), 1, dtype=torch.bool)
            )
        states = frame_states(output.last_hidden_state.float())
        readings = {
            "embedding": unit(towers.model.audio_projection(output.pooler_output.float())),
            "mean over time": states.mean(1),
            "means of halves": torch.cat([half.mean(1) for half in states.chunk(2, dim=1)], dim=-1),
            "means of quarters": torch.cat([quarter.mean(1) for quarter in states.chunk(4, dim=1)], dim=-1),
            "whole map": states.flatten(1),
        }
        for name, rows in readings.items():
            found.setdefault(name, []).append(rows.reshape(2, len(part), -1))
    return {name: torch.cat(rows, dim=1).flatten(0, 1).double().numpy() for name, rows in found.items()}


@torch.no_grad()
def _said(towers: Towers, groups: Sequence[PairGroup]) -> Features:
    texts = [
        sentence(group.first.label, group.second.label, variant)
        for variant in (Variant.FORWARD, Variant.REVERSE)
        for group in groups
    ]
    return {"embedding": unit(towers.embed_text(texts)).double().numpy()}


def _probe(
    known: npt.NDArray[np.float64],
    new: npt.NDArray[np.float64],
    learnt: Sequence[PairGroup],
    asked: Sequence[PairGroup],
    labels: Sequence[str],
) -> float:
    """How often the class that came first scores higher; every other pair asked chooses the ridge, the rest counts."""
    middle, spread = known.mean(0), known.std(0) + 1e-6
    known, new = (known - middle) / spread, (new - middle) / spread
    place = {label: number for number, label in enumerate(labels)}
    target = np.zeros((len(known), len(labels)))
    for row, (first, second) in enumerate(_orders(learnt)):
        target[row, place[first]], target[row, place[second]] = 1, -1
    gram, results = known @ known.T, []
    for ridge in RIDGE:
        scores = new @ known.T @ np.linalg.solve(gram + ridge * np.eye(len(gram)), target)
        right = [scores[row, place[a]] > scores[row, place[b]] for row, (a, b) in enumerate(_orders(asked))]
        results.append((float(np.mean(right[::2])), float(np.mean(right[1::2]))))
    return round(max(results)[1], 4)


def _orders(groups: Sequence[PairGroup]) -> list[tuple[str, str]]:
    forward = [(group.first.label, group.second.label) for group in groups]
    return forward + [(second, first) for first, second in forward]


if __name__ == "__main__":
    main()
