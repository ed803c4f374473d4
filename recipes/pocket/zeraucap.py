"""Make and release `pocket:zeraucap`: the pocket CLAP, the names of its sounds, and a small plain language model.

python -m recipes.pocket --zeraucap             trains the language model, under ten minutes on two cores
python -m benchmarks.zeraucap_ablation --captioner pocket-training/zeraucap
python -m recipes.pocket --zeraucap --release   puts it into the package, with a card of what was measured
"""

from __future__ import annotations

import json
from pathlib import Path

from recipes.pocket.plain_lm import train_plain_model
from recipes.pocket.recipe import PocketRecipe, load_tokenizer
from recipes.pocket.release import WEIGHTS, ship
from sonogloss.clap import load_clap
from sonogloss.methods import ClapIdentity, NewCaptioner, save_captioner
from sonogloss.methods.labels import embed_labels
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.methods.zeraucap.prompt import KeywordPrompt
from sonogloss.soundscapes import CLASSES

LARGEST = 3_000_000  # bytes
# As released, but for the last blank: this vocabulary's words begin with theirs, and no text it read ends in one.
PROMPT = KeywordPrompt(lead="This is a sound of")

CARD = """---
license: apache-2.0
---

# sonogloss pocket ZerAuCap

Captions without training (Salewski et al. 2023) for the pocket CLAP: its two nearest keywords of fifty are named in a
prompt, `Objects: dog barking, and a rain falling. This is a sound of`, a language model continues it, and the CLAP
chooses among its next words. Prompt, vocabulary and search: `captioner.json`, `labels/`.

## The language model

A GPT-2 of {parameters:.1f} million parameters, float16, in place of the general one that the method asks for: none is
small enough to be shipped. It was trained from nothing as a **plain language model**, {steps} steps on paragraphs of
our own grammar, and never on anything of a sound. A paragraph tells of the parts of one scene in a few sentences and
of all of it in the last, which half of the time begins with `this is a sound of`; so it brings along what a general
model brings along, how such sentences go and that a text keeps to its subject. It read **no list of keywords and no
prompt**. It knows the fifty sounds of the pocket CLAP and nothing else. Held-out loss {validation_loss:.3f} a token.

The decoder of the pocket DRCap cannot take its place: it learned to answer its own prompt behind captions and a soft
vector, and named no right sound behind this one (20 scenes, without guidance).

## Scores

{scores}

## License

Apache-2.0.
"""


def make_zeraucap(directory: Path, recipe: PocketRecipe) -> Path:
    """Train the language model and write `directory/zeraucap`, over the released CLAP; nothing when it is there."""
    finished = directory / "zeraucap"
    if (finished / "captioner.json").exists():
        return finished
    clap, tokenizer = load_clap("pocket"), load_tokenizer(WEIGHTS / "clap")
    model, record = train_plain_model(directory / "zeraucap-training", recipe, tokenizer)
    save_captioner(
        str(finished),
        NewCaptioner(
            clap=ClapIdentity(name="pocket", fingerprint=clap.fingerprint, dim=clap.dim),
            language_model=model,
            tokenizer=tokenizer,
            mapper=None,
            prompt=PROMPT,
            projection=None,
            decode=GuidedSettings(),
            labels=embed_labels([sound.label for sound in CLASSES.values()], clap, normalise=False),
            training={"language_model": record.as_json() | {"parameters": model.num_parameters()}},
            half=True,
        ),
    )
    return finished


def release_zeraucap(directory: Path, reports: Path) -> None:
    """Copy `directory/zeraucap` into the package, with a card of what `benchmarks.zeraucap_ablation` measured.

    Raises:
        ValueError: it is larger than it may be.
    """
    measured = json.loads((reports / "zeraucap-ablation" / "report.json").read_text())
    source = directory / "zeraucap"
    record = json.loads((source / "captioner.json").read_text())["training"]["language_model"]
    card = CARD.format(**record | {"parameters": record["parameters"] / 1e6}, scores=_table(measured))
    ship(source, "zeraucap", card, largest=LARGEST)


def _table(measured: dict[str, object]) -> str:
    rows = measured["components"]
    assert isinstance(rows, dict)
    lines = [f"| {name} | {row['cider_d']:.3f} | {row['event_f1']:.3f} |" for name, row in rows.items()]
    head = (
        f"{measured['scenes']} held-out synthetic scenes, five references each:\n\n| condition | CIDEr-D | event F1 |"
    )
    return "\n".join([head, "|---|---|---|", *lines])
