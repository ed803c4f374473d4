"""Does tuning on text help to tag sound? Zero-shot accuracy with plain and with tuned label prompts.

    python -m benchmarks.tagging_quality [--seeds 3] [--data ../shared/data] [--sets synthetic esc10 esc50 ...]

Sets: single events of the fifty synthetic classes, rendered as no training was; ESC-10's fold 4; all fifty classes of
ESC-50 in fold 4; a subset of UrbanSound8K. Recordings that are not there are skipped; the pocket CLAP learned from none
of them. For each set prompts are tuned on its own label names, on each kind of text, with several seeds:

    names      texts made of the names alone
    grammar    captions found by keyword in a dump of the synthesiser's grammar (synthetic classes only)
    captions   captions found by keyword in AudioCaps, Clotho and BBC sound effects (where the folder is)

`unseen` tunes on one half of the synthetic classes, drawn by the seed, and tags the other half. `scenes` tags scenes of
one to three sounds with several labels each (mAP, ranking loss). `audioset10` and `audioset50` are the clips of ESC-10
and ESC-50 among all 527 labels of AudioSet: right where the best label is one of those that name the class. `german`
gives the synthetic classes German names; the keywords that find their captions are the English ones.

Training hears nothing; what is written is kept, and a second call goes on from there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.pocket_scenes import bootstrap
from benchmarks.tagging_material import (
    FOLDERS,
    GERMAN,
    REAL_DUMPS,
    Material,
    real_captions,
    recordings,
    rendered_events,
    rendered_scenes,
)
from sonogloss.clap import Clap, load_clap
from sonogloss.clap.frames import embed_frames
from sonogloss.methods.labels import read_labels
from sonogloss.metrics import RankedClips, mean_average_precision
from sonogloss.pipelines.tune_labels import tune_labels
from sonogloss.records import FloatArray
from sonogloss.soundscapes import caption_dump
from sonogloss.tagging.label_prompts import load_label_prompts
from sonogloss.tagging.tagger import Tagger, plain_tagger, prompted_tagger

DUMP_SEED = 79
DUMP = 40_000
KINDS = ("names", "grammar", "captions")
SETS = ("synthetic", "unseen", "scenes", "german", *FOLDERS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """Clips of one set as a CLAP hears them, and the truth: bool [clips, labels]."""

    labels: tuple[str, ...]
    clips: FloatArray
    frames: FloatArray
    truth: npt.NDArray[np.bool_]

    def of(self, labels: Sequence[int]) -> Heard:
        """The part that some labels, and no others, are true of."""
        rows = self.truth[:, labels].any(axis=1)
        return Heard(
            labels=tuple(self.labels[i] for i in labels),
            clips=self.clips[rows],
            frames=self.frames[rows],
            truth=self.truth[rows][:, labels],
        )

    def right(self, tagger: Tagger) -> npt.NDArray[np.float64]:
        """Of each clip, 1 where the best label is true."""
        best = tagger.scores(self.clips, self.frames).argmax(axis=1)
        return self.truth[np.arange(len(best)), best].astype(np.float64)

    def mean_average_precision(self, tagger: Tagger) -> float:
        """Over the labels."""
        scores = tagger.scores(self.clips, self.frames)
        columns = [
            RankedClips(scores=tuple(scores[:, i].tolist()), true=tuple(self.truth[:, i].tolist()))
            for i in range(len(self.labels))
        ]
        return mean_average_precision(columns)[0]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of text")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=20, help="synthetic clips a class")
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--clap", default="pocket")
    parser.add_argument("--tune", nargs="*", default=[], metavar="NAME=VALUE", help="of tune-labels, as epochs=4")
    parser.add_argument("--output", type=Path, default=Path("bench-output/tagging-quality"))
    parser.add_argument("--short", action="store_true", help="1 seed, 4 clips a class, 30 steps: a check that it runs")
    options = parser.parse_args()
    numbers: dict[str, Any] = {name: json.loads(value) for name, value in (word.split("=") for word in options.tune)}
    if options.short:
        options.seeds, options.per_class, options.scenes = 1, 4, 40
        numbers = {"steps": 30, "texts_per_label": 16, **numbers}
        options.output = options.output.with_name(f"{options.output.name}-short")
    options.output.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.output, options.data, options.clap, numbers, options.kinds)
    path = options.output / "report.json"
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    report |= {"tune": numbers, "seeds": options.seeds}
    for name in options.sets:
        heard = bench.hear(name, options.per_class, options.scenes)
        if heard is None:
            print(f"{name}: {options.data} does not hold it; skipped")
            continue
        unseen = name == "unseen"
        report[name] = bench.unseen(heard, options.seeds) if unseen else bench.judge(name, heard, options.seeds)
        print(f"\n{name}: {len(heard.clips)} clips, {len(heard.labels)} labels")
        for row in report[name]:
            print("   " + row["line"], flush=True)
        path.write_text(json.dumps(report, indent=2))


class Bench:
    """The material of a run and where it is kept."""

    def __init__(self, output: Path, data: Path, clap: str, numbers: dict[str, Any], kinds: Sequence[str]) -> None:
        self.output = output
        self.data = data
        self.clap: Clap = load_clap(clap)
        self.numbers = numbers
        self.wanted = kinds

    def judge(self, name: str, heard: Heard, seeds: int) -> list[dict[str, Any]]:
        """Plain against tuned prompts, on one set, for each kind of text."""
        several = name == "scenes"
        plain = plain_tagger(heard.labels, self.clap)
        stem = "audioset" if name.startswith("audioset") else name  # two sets, one list of labels
        rows = [_row("plain", [heard.mean_average_precision(plain) if several else heard.right(plain).mean()])]
        for kind in self.kinds(synthetic=name not in FOLDERS):
            taggers = [
                self.tuned(f"{stem}-{kind}-{seed}", kind, heard.labels, seed, several).of(heard.labels, self.clap)
                for seed in range(seeds)
            ]
            if several:
                rows.append(_row(f"tuned on {kind}", [heard.mean_average_precision(t.both) for t in taggers]))
                continue
            rows.append(_compared(f"tuned on {kind}", heard, plain, [t.both for t in taggers]))
            rows.append(_compared(f"tuned on {kind}, coarse", heard, plain, [t.coarse for t in taggers]))
            rows.append(_compared(f"tuned on {kind}, fine", heard, plain, [t.fine for t in taggers]))
        return rows

    def unseen(self, heard: Heard, seeds: int) -> list[dict[str, Any]]:
        """Prompts tuned on one half of the labels, used for that half and for the other."""
        rows = []
        for kind in self.kinds(synthetic=True):
            outcomes: dict[str, list[tuple[float, float, npt.NDArray[np.float64]]]] = {"seen": [], "unseen": []}
            for seed in range(seeds):
                order = np.random.default_rng([seed, 5]).permutation(len(heard.labels))
                half = {"seen": np.sort(order[: len(order) // 2]), "unseen": np.sort(order[len(order) // 2 :])}
                part = {name: heard.of(labels.tolist()) for name, labels in half.items()}
                learned = self.tuned(f"half-{kind}-{seed}", kind, part["seen"].labels, seed, False)
                for name, own in part.items():
                    before = own.right(plain_tagger(own.labels, self.clap))
                    after = own.right(learned.of(own.labels, self.clap).both)
                    outcomes[name].append((before.mean(), after.mean(), after - before))
            for name, found in outcomes.items():
                before, after = ([entry[i] for entry in found] for i in (0, 1))
                mean, low, high = bootstrap(np.concatenate([entry[2] for entry in found]))
                line = f"{name} classes, {kind}: plain {np.mean(before):.3f}, tuned {_spread(after)}, "
                line += f"gain {mean:+.3f} [{low:+.3f}, {high:+.3f}]"
                rows.append({"line": line, "plain": before, "tuned": after, "gain": [mean, low, high]})
        return rows

    def kinds(self, *, synthetic: bool) -> list[str]:
        """Kinds of text that there are for a set."""
        real = all((self.data / "captions" / f"{name}.jsonl.gz").exists() for name in REAL_DUMPS)
        there = ["names", *(["grammar"] if synthetic else []), *(["captions"] if real else [])]
        return [kind for kind in there if kind in self.wanted]

    def tuned(self, name: str, kind: str, labels: Sequence[str], seed: int, multi_label: bool) -> Tuned:
        """Prompts tuned on some labels, or those that an earlier call left."""
        folder = self.output / name
        folder.mkdir(exist_ok=True)
        names = folder / "labels.txt"
        names.write_text("\n".join(labels) + "\n")
        keywords = folder / "keywords.json"
        if set(labels) <= set(GERMAN):
            english = dict(zip(GERMAN, read_labels("pocket"), strict=True))
            keywords.write_text(json.dumps({label: [english[label]] for label in labels}))
        directory = folder / "prompts"
        tune_labels(
            labels=str(names),
            output=str(directory),
            texts=[] if kind == "names" else [self.dump(kind)],
            name_only=kind == "names",
            keywords=keywords if keywords.exists() and kind != "names" else None,
            clap=self.clap.name,
            multi_label=multi_label,
            seed=seed,
            device="cpu",
            **self.numbers,
        )
        return Tuned(str(directory))

    def dump(self, kind: str) -> str:
        """Captions to search, one a line."""
        path = self.output / f"{kind}.txt"
        if not path.exists():
            texts = caption_dump(DUMP, DUMP_SEED) if kind == "grammar" else real_captions(self.data / "captions")
            path.write_text("\n".join(texts) + "\n")
        return str(path)

    def hear(self, name: str, per_class: int, scenes: int) -> Heard | None:
        """A set's clips, embedded once."""
        name = "synthetic" if name == "unseen" else name
        if name in FOLDERS and not (self.data / "audio" / FOLDERS[name] / "metadata.csv").exists():
            return None
        if name == "german":
            heard = self.hear("synthetic", per_class, scenes)
            return heard and replace(heard, labels=GERMAN)
        size = {"synthetic": per_class, "scenes": scenes}.get(name, "all")
        path = self.output / f"{name}-{size}.npz"
        if not path.exists():
            material = self._material(name, per_class, scenes)
            clips, frames = embed_frames(self.clap, material.sounds)
            np.savez(path, labels=np.array(material.labels), clips=clips, frames=frames, truth=np.array(material.truth))
        with np.load(path, allow_pickle=False) as kept:
            return Heard(
                labels=tuple(kept["labels"].tolist()), clips=kept["clips"], frames=kept["frames"], truth=kept["truth"]
            )

    def _material(self, name: str, per_class: int, scenes: int) -> Material:
        if name in FOLDERS:
            return recordings(self.data, name, self.clap.sample_rate)
        if name == "scenes":
            return rendered_scenes(scenes)
        return rendered_events(per_class)


@dataclass(frozen=True)
class Tuned:
    """Where learned prompts are kept."""

    directory: str

    def of(self, labels: Sequence[str], clap: Clap) -> Taggers:
        """Taggers for some labels: both scores, and each alone."""
        both = prompted_tagger(labels, clap, load_label_prompts(self.directory))
        assert both.fine is not None
        return Taggers(both=both)


@dataclass(frozen=True, kw_only=True)
class Taggers:
    """A prompted tagger, whole and in parts."""

    both: Tagger

    @property
    def coarse(self) -> Tagger:
        """Clips only."""
        return _part(self.both, fine=False)

    @property
    def fine(self) -> Tagger:
        """Frames only: clips are compared with nothing."""
        return _part(self.both, fine=True)


def _part(tagger: Tagger, *, fine: bool) -> Tagger:
    return Tagger(
        labels=tagger.labels,
        coarse=np.zeros_like(tagger.coarse) if fine else tagger.coarse,
        fine=tagger.fine if fine else None,
        temperature=tagger.temperature,
        clap=tagger.clap,
    )


def _compared(name: str, heard: Heard, plain: Tagger, taggers: Sequence[Tagger]) -> dict[str, Any]:
    """Accuracy over seeds, and the gain over plain labels with its interval over clips."""
    right = np.array([heard.right(tagger) for tagger in taggers])
    mean, low, high = bootstrap(right.mean(axis=0) - heard.right(plain))
    row = _row(name, right.mean(axis=1).tolist())
    return row | {"line": f"{row['line']}, gain {mean:+.3f} [{low:+.3f}, {high:+.3f}]", "gain": [mean, low, high]}


def _row(name: str, values: Sequence[float]) -> dict[str, Any]:
    return {"name": name, "values": [float(value) for value in values], "line": f"{name}: {_spread(values)}"}


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({', '.join(f'{value:.3f}' for value in values)})"


if __name__ == "__main__":
    main()
