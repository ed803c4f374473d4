"""The model card of a post-trained CLAP: what it was made of, on what, and what is not known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sonogloss import __version__
from sonogloss.temporal.post_train import PostTrainRecord

_CARD = """---
library_name: transformers
tags: [audio, clap, zero-shot-audio-classification]
---

# A CLAP with a sense of order

`{base}` (fingerprint `{fingerprint}`), post-trained by sonogloss {version} as TeminAL (arXiv 2408.09269) does, on pairs
of sounds in known order. An ordinary ClapModel directory; preprocessing and tokenizer are the base's own, its weights
are not, so datastores and captioners made with the base do not fit it.

## Learnt from

{clips} clips of {classes} classes from {collections}; {validation_clips} more were only looked at. Whoever shares these
weights answers for the licences of the clips and of the base.

## How

{stages}
{tuned} learnt; batch norms kept their statistics. Every number: `post_training.json`; curve: `training/loss.csv`.

## What is known

{order}
Measure it, and what single sounds have lost by it, with `sonogloss zste`.
"""


def clap_card(base: Mapping[str, str], collections: Sequence[str], record: PostTrainRecord) -> str:
    """The card, as Markdown.

    Args:
        base: `name` and `fingerprint` of the CLAP it began with.
        collections: what `--clips` named.
        record: of the run.
    """
    config = record.config
    loss = "as released (no unit length, no temperature)" if config.loss.released else "as the equations have it"
    stages = [
        f"* Stage {stage}: {config.steps} steps of {config.groups} pairs, TNCE {loss}; loss {record.losses[stage]:.3f}"
        f" at the end"
        for stage in config.stages
    ]
    if config.tune == "lora":
        tuned = f"An adapter of rank {config.lora_rank} on queries and values, merged since, and the projections"
    else:
        tuned = f"The last {config.layers} layer(s) of each tower and the projections"
    order = (
        "No clips were kept apart, so nothing is known of unheard ones."
        if record.validation_order is None
        else f"Of the sequences of unheard clips {record.validation_order:.1%} lay nearer to the sentence of their own "
        "order than to that of the other; chance is 50 %."
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
