"""What does post-training teach the pocket CLAP, and what does it cost? Before, A only, B only, A then B; three seeds.

    python -m benchmarks.temporal_quality [--jobs 2] [--clips ../shared/data/audio/esc]

Learns from synthetic clips of seven tenths of the classes and, where ESC-50 is at hand, of ESC-10 (folds 1 to 3); asks
ZSTE's questions of other synthetic clips of those classes (`seen`), of the other classes (`unseen`), and of real clips
of fold 4 (`real`). Also retrieval among the captions of held-out scenes, on which captioning rests. Aims: task 3
from chance to 0.80 on synthetic and 0.60 on real pairs, task 1 and R@10 not more than 0.05 lower.

`A then B` is stage B on what stage A left. Everything is kept under --output: an interrupted run goes on, with `--only`
a part of it runs. `--position-rate 1` shows what becomes of order when nothing learns faster than the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.pocket_quality import retrieval
from benchmarks.pocket_scenes import TEST_SEED, own_captions
from benchmarks.temporal_material import measured, real_clips
from recipes.pocket.held_out import HeldOutScenes
from sonogloss.clap import Clap, load_clap
from sonogloss.temporal.clips import LabelledClip, hold_out_classes, soundscape_clips
from sonogloss.temporal.config import PairSettings, PostTrainConfig
from sonogloss.temporal.features import ClipPowers
from sonogloss.temporal.post_train import clap_card, post_train
from sonogloss.temporal.sequences import draw_groups
from sonogloss.temporal.towers import Towers
from sonogloss.temporal.zste import Judge, Questions, TextBank
from sonogloss.temporal.zste_summary import summarise
from sonogloss.transforms.encode_variants import clip_reader, cut_zste_units, encode_unit

UNSEEN = 0.3
CONDITIONS = {"A": "A", "B": "B", "A then B": "B"}  # the stage that is trained
CONFIG = PostTrainConfig(precision="bfloat16")
SHOWN = {
    "task 1": ("1", "single", "accuracy"),
    "task 2": ("2", "sequence", "accuracy"),
    "task 2, overlay": ("2", "overlay", "accuracy"),
    "task 3": ("3", "sequence", "accuracy"),
    "task 3, order": ("3", "order", "accuracy"),
    "task 3, overlay": ("3", "overlay", "accuracy"),
    "task 4": ("4", "forward", "accuracy"),
    "task 5": ("5", "forward", "accuracy"),
    "R@10, singles": ("retrieval", "single", "r@10"),
    "R@10, sequences": ("retrieval", "sequence", "r@10"),
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clap", default="pocket")
    parser.add_argument("--clips", type=Path, default=Path("../shared/data/audio/esc"))
    parser.add_argument("--per-class", type=int, default=30)
    parser.add_argument("--steps", type=int, default=CONFIG.steps, help="of stage B")
    parser.add_argument("--steps-a", type=int, default=150, help="of stage A, whose task is easy")
    parser.add_argument("--position-rate", type=float, default=CONFIG.position_rate)
    parser.add_argument("--conditions", nargs="+", choices=list(CONDITIONS), default=list(CONDITIONS))
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--only", metavar="RUN", help="this run only, as `before` or `B-0`; prints no table")
    parser.add_argument("--output", type=Path, default=Path("bench-output/temporal"))
    parser.add_argument("--short", action="store_true", help="8 clips a class, 20 steps, one seed: shows that it runs")
    options = parser.parse_args()
    if options.short:
        options.per_class, options.steps, options.steps_a = 8, 20, 20
        options.pairs, options.scenes, options.seeds = 40, 60, [0]
        options.output = options.output / "short"
    names = [f"{name.replace(' ', '-')}-{seed}" for seed in options.seeds for name in options.conditions]
    runs = ["before", *names]
    if options.only:
        torch.set_num_threads(1)
        _run(options.only, options)
        return
    _material(options)  # rendered once, before several processes want it
    waiting = [run for run in runs if not (options.output / "runs" / run / "report.json").exists()]
    while waiting:
        part, waiting = waiting[: options.jobs], waiting[options.jobs :]
        own = [argument for argument in sys.argv[1:] if argument != "--only"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.temporal_quality", *own, "--only"]
        processes = [subprocess.Popen([*command, run], env=environment) for run in part]
        if any(process.wait() for process in processes):
            raise SystemExit("a run failed; the others are kept")
    _print(options, runs)


def _material(options: argparse.Namespace) -> tuple[ClipPowers, list[Questions]]:
    """What is learnt from, and what is asked: on seen classes, on unseen ones, and on real clips."""
    clips, _ = hold_out_classes(soundscape_clips(options.per_class, split="train-0"), UNSEEN)
    labels = {clip.label for clip in clips}
    real = [clip for clip in real_clips(options.clips, ["1", "2", "3"]) if clip.label in labels]
    parts = measured(options.output, f"clips-{options.per_class}-seen", clips, CONFIG.pairs)
    if real:
        parts += measured(options.output, "clips-real", real, CONFIG.pairs)
    test = soundscape_clips(max(2, options.per_class // 4), split="test-0")
    seen, unseen = hold_out_classes(test, UNSEEN)
    asked = [seen, unseen]
    if real:
        asked.append(real_clips(options.clips, ["4"]))
    return ClipPowers(parts), [_questions(some, options.pairs) for some in asked]


def _questions(clips: Sequence[LabelledClip], pairs: int) -> Questions:
    labels = tuple(sorted({clip.label for clip in clips}))
    return Questions(clips=tuple(clips), groups=tuple(draw_groups(clips, pairs, seed=0)), labels=labels)


def _run(run: str, options: argparse.Namespace) -> None:
    """Train, unless it is the CLAP as it was, ask, and keep the answers."""
    folder = options.output / "runs" / run
    if (folder / "report.json").exists():
        return
    powers, asked = _material(options)
    name = options.clap
    if run != "before":
        condition, _, seed = run.rpartition("-")
        stage = CONDITIONS[condition.replace("-", " ")]
        steps = options.steps_a if stage == "A" else options.steps
        config = replace(CONFIG, stages=(stage,), seed=int(seed), steps=steps, position_rate=options.position_rate)
        begin = name if condition != "A-then-B" else str(folder.with_name(f"A-{seed}") / "clap")
        name = str(folder / "clap")
        if not (folder / "clap" / "README.md").exists():
            towers = Towers(begin, config)
            record = post_train(towers, powers, config, str(folder), resume=True, log=lambda line: _say(run, line))
            base = {"name": begin, "fingerprint": load_clap(begin).fingerprint}
            towers.save(name, clap_card(base, ["soundscapes", "ESC-10"], record))
    clap = load_clap(name)
    report: dict[str, Any] = {"run": run}
    for kind, questions in zip(("seen", "unseen", "real"), asked, strict=False):
        report[kind] = _ask(clap, questions)
        _say(run, f"asked of {kind} clips")
    path = options.output / f"scenes-{options.scenes}.npz"
    scenes = HeldOutScenes.make(path, options.scenes, TEST_SEED)
    report["scenes"] = retrieval(scenes.embed(clap), clap.embed_text(own_captions(scenes)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1))


def _ask(clap: Clap, questions: Questions) -> list[dict[str, Any]]:
    """ZSTE's summary, without a job around it."""
    judge, read = Judge(questions, TextBank.embed(questions.texts(), clap)), clip_reader(clap, PairSettings())
    items = []
    for unit in cut_zste_units(questions):
        encoded = encode_unit(unit, clap, PairSettings(), read)
        items += [item for clip, vector in encoded.clips for item in judge.clip(clip, vector)]
        items += [item for group, vectors in encoded.groups for item in judge.group(group, vectors)]
    return [asdict(row) for row in summarise(items)]


def _say(run: str, line: str) -> None:
    print(f"{run}: {line}", flush=True)


def _print(options: argparse.Namespace, runs: Sequence[str]) -> None:
    """Mean over seeds, with the lowest and the highest, a row a measure."""
    reports = {run: json.loads((options.output / "runs" / run / "report.json").read_text()) for run in runs}
    columns = {"before": ["before"]} | {
        name: [f"{name.replace(' ', '-')}-{seed}" for seed in options.seeds] for name in options.conditions
    }
    table: dict[str, dict[str, list[float]]] = {}
    for kind in ("seen", "unseen", "real"):
        if kind not in reports["before"]:
            print("no real clips at hand: that part is left out")
            continue
        print(f"\n{kind:22s} {'chance':>7s}" + "".join(f"{name:>24s}" for name in columns))
        for shown, key in SHOWN.items():
            found = {run: next(row for row in report[kind] if _key(row) == key) for run, report in reports.items()}
            values = {name: [found[run]["value"] for run in some] for name, some in columns.items()}
            table[f"{kind}: {shown}"] = values
            print(f"{shown:22s} {found['before']['chance']:7.3f}" + "".join(_cell(v) for v in values.values()))
    print(f"\n{'scenes':22s} {'':7s}" + "".join(f"{name:>24s}" for name in columns))
    for cut in ("r@1", "r@10"):
        values = {name: [reports[run]["scenes"][cut] for run in some] for name, some in columns.items()}
        table[f"scenes: {cut}"] = values
        print(f"{cut:22s} {'':7s}" + "".join(_cell(v) for v in values.values()))
    (options.output / "report.json").write_text(json.dumps(table, indent=1))


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["task"], row["setting"], row["metric"]


def _cell(values: Sequence[float]) -> str:
    spread = f" [{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else ""
    return f"{f'{np.mean(values):.3f}{spread}':>24s}"


if __name__ == "__main__":
    main()
