r"""Make and release the CLAP `pocket:ordered`: the pocket CLAP after TeminAL, as a judge of the order captions tell.

python -m recipes.pocket --ordered            post-trains it, and trains soft and hard prompts over it for comparison
python -m benchmarks.pocket_quality --clap pocket-training/clap-ordered --captioner pocket-training/soft-hard-ordered \
    --output bench-output/soft-hard-ordered-quality
python -m benchmarks.caption_order --system pocket pocket pocket --rerank ordered pocket-training/clap-ordered
python -m recipes.pocket --ordered --release  puts the CLAP into the package; the captioner is worse than `pocket`'s
"""

from __future__ import annotations

import json
from pathlib import Path

from recipes.pocket.recipe import PocketRecipe
from recipes.pocket.release import ship_clap
from sonogloss.audio.mel import LogMel
from sonogloss.temporal.clips import read_collection
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.features import ClipPowers, measure_clips
from sonogloss.temporal.post_train import clap_card, post_train
from sonogloss.temporal.towers import Towers

LARGEST = 10_000_000  # bytes
CARD = """---
license: apache-2.0
library_name: transformers
tags: [audio, clap, zero-shot-audio-classification]
---

# sonogloss pocket CLAP with a sense of order

The pocket CLAP, taught which of two sounds came first: an ordinary `ClapModel` directory of the same shape, made to
judge captions: `sonogloss caption --candidates 8 --rerank pocket:ordered`. It knows the same **fifty everyday sounds**.
As the base of datastores and captioners `pocket` is better.

## Recipe

`python -m recipes.pocket --ordered`: TeminAL as `sonogloss post-train-clap` has it, from `pocket`, both stages and
stage B once more, {steps} steps each, on pairs of {clips} rendered sounds a class. It heard nothing that `pocket` had
not been made from: our own synthesis, and before that ESC-10 (folds 1 to 3). What names do not tell, such as pace,
pitch and distance, it hears less well than `pocket` does: its sounds find the caption of their own scene less often.

## Scores

{scenes} held-out synthetic scenes, among their captions: {retrieval}; zero-shot over fifty classes of single events
{zero_shot:.3f}. Of "A followed by B" and "B followed by A" the true one is nearer to the sound in {order:.3f} of 200
pairs; chance is 0.5.

## License

Apache-2.0. The attribution of the real clips is due to their authors (`ATTRIBUTION.csv`).
"""


def make_ordered(directory: Path, recipe: PocketRecipe) -> Path:
    """Post-train the released CLAP and write `directory/clap-ordered`; an interrupted run goes on.

    Twice `sonogloss post-train-clap --clips soundscapes`: with both stages, and with stage B once more.
    """
    first = _post_train("pocket", ("A", "B"), 0, directory / "clap-ordered-first", recipe)
    return _post_train(str(first), ("B",), 1, directory / "clap-ordered", recipe)


def _post_train(name: str, stages: tuple[str, ...], seed: int, finished: Path, recipe: PocketRecipe) -> Path:
    if (finished / "README.md").exists():
        return finished
    config = PostTrainConfig(stages=stages, steps=recipe.order_steps, precision="bfloat16", seed=seed)
    towers = Towers(name, config)
    clips = read_collection("pocket", split="train", per_class=recipe.order_clips)
    powers = ClipPowers([measure_clips(clips, LogMel(towers.mel), config.pairs)])
    base = {"name": name, "fingerprint": towers.clap.fingerprint}
    record = post_train(towers, powers, config, str(finished / "training"), resume=True)
    towers.save(str(finished), clap_card(base, ["soundscapes"], record))
    return finished


def release_ordered(directory: Path, reports: Path) -> None:
    """Copy `directory/clap-ordered` into the package, with a card of what `benchmarks.pocket_quality` measured."""
    measured = json.loads((reports / "soft-hard-ordered-quality" / "report.json").read_text())
    recipe = PocketRecipe()
    card = CARD.format(
        steps=recipe.order_steps,
        clips=recipe.order_clips,
        scenes=measured["scenes"],
        retrieval=", ".join(f"{name.upper()} {value:.3f}" for name, value in measured["retrieval"].items()),
        zero_shot=measured["zero_shot"],
        order=measured["order"],
    )
    ship_clap(directory / "clap-ordered", "clap-ordered", card, largest=LARGEST)
