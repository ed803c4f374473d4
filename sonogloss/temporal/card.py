"""The model card of a post-trained CLAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sonogloss import __version__
from sonogloss.temporal.post_train import MEAN_OF, PostTrainRecord

_CARD = """---
library_name: transformers
tags: [audio, clap, zero-shot-audio-classification]
---

# A CLAP with a sense of order

`{base}` (fingerprint `{fingerprint}`), post-trained by sonogloss {version} with TeminAL (arXiv 2408.09269) on pairs of
sounds in known order. An ordinary ClapModel directory. Preprocessing and tokenizer are those of the base, its weights
are not: datastores and captioners made with the base do not fit.

## Training data

{clips} clips of {classes} classes from {collections}; {validation_clips} more were held out for validation. The
licenses of the clips and of the base apply to whoever shares these weights.

## Training

{stages}
{tuned} were trained; batch norms kept their statistics. All numbers: `post_training.json`; curve: `training/loss.csv`.

## Evaluation

{order}
`sonogloss zste` measures this, and what the CLAP still knows of single sounds.
"""


def clap_card(base: Mapping[str, str], collections: Sequence[str], record: PostTrainRecord) -> str:
    """The card, as Markdown.

    Args:
        base: `name` and `fingerprint` of the CLAP that the training began with.
        collections: as `--clips` names them.
        record: of the run.
    """
    config = record.config
    loss = "as released (no unit length, no temperature)" if config.loss.released else "as the equations have it"
    stages = [
        f"* Stage {stage}: {config.steps} steps of {config.groups} pairs, TNCE {loss}; mean loss of the last {MEAN_OF} "
        f"steps {record.losses[stage]:.3f}"
        for stage in config.stages
    ]
    if config.tune == "lora":
        tuned = f"An adapter of rank {config.lora_rank} on queries and values, now merged, and the projections"
    else:
        tuned = f"The last {config.layers} layer(s) of each tower and the projections"
    order = "No clips were held out, so nothing is known of unseen ones."
    if record.validation_order is not None:
        order = (
            f"{record.validation_order:.1%} of the sequences of held-out clips were nearer to their own sentence "
            "than to that of the other order; chance is 50 %."
        )
    return _CARD.format(
        base=base["name"],
        fingerprint=base["fingerprint"][:12],
        version=__version__,
        clips=f"{record.clips:,}",
        classes=record.classes,
        collections=", ".join(f"`{name}`" for name in collections),
        validation_clips=f"{record.validation_clips:,}",
        stages="\n".join(stages),
        tuned=tuned,
        order=order,
    )
