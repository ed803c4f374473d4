"""How much faster than the published algorithm, with the same captions? Guided search and keywords alone.

    python -m benchmarks.zeraucap_speed [--captioner pocket:zeraucap] [--clips 600 2400] [--short]

The baseline is the published algorithm written down plainly: one clip at a time, for every token a pass of the language
model over all 45 candidates (keys and values kept) and an embedding of each of their 45 texts. It runs on the same
weights, clips and threads. Timed is everything after the audio embedding: choosing keywords, and writing. Ours is timed
with nothing remembered from before; captions must be equal. The baseline remembers nothing from clip to clip: it is
timed on the first `--baseline-clips`, and seconds a clip are compared; ours gains from every further clip. Prints the
ratios and writes bench-output/zeraucap-speed/.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from benchmarks.pocket_scenes import TEST_SEED
from recipes.pocket.held_out import HeldOutScenes
from sonogloss.clap import Clap, load_clap
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.methods import load_captioner
from sonogloss.methods.guided_text import candidate_texts, finished_text
from sonogloss.methods.zeraucap.captioner import ZerAuCapCaptioner
from sonogloss.methods.zeraucap.prompt import compose_keyword_prompts
from sonogloss.records import FloatArray


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captioner", default="pocket:zeraucap")
    parser.add_argument("--clips", type=int, nargs="+", default=[600, 2400])
    parser.add_argument("--baseline-clips", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench-output/zeraucap-speed"))
    parser.add_argument("--short", action="store_true", help="40 clips, once")
    options = parser.parse_args()
    if options.short:
        options.clips, options.baseline_clips, options.repeats = [40], 40, 1
    most = max(options.clips)
    scenes = HeldOutScenes.make(options.output.parent / f"scenes-{TEST_SEED}-{most}.npz", most, TEST_SEED)
    clap = load_clap(load(options.captioner, clap=None, fast=False).clap.name)
    audio = scenes.embed(clap)
    published = Published(load(options.captioner, clap=clap, fast=False), clap)
    started = time.perf_counter()
    wanted = [published.caption(row) for row in audio[: options.baseline_clips]]
    a_clip = (time.perf_counter() - started) / len(wanted)
    report: dict[str, Any] = {"threads": torch.get_num_threads(), "baseline_clips": len(wanted)}
    report["baseline_s_a_clip"], report["baseline_texts"], report["baseline_rows"] = (
        a_clip,
        published.texts,
        published.rows,
    )
    for clips in options.clips:
        for name, fast in (("guided", False), ("fast", True)):
            row = report[f"{name}, {clips} clips"] = _ours(options, clap, audio[:clips], wanted, fast=fast)
            row["ratios"] = [a_clip * clips / seconds for seconds in row["seconds"]]
            low, middle, high = np.percentile(row["ratios"], [0, 50, 100])
            print(
                f"{name}, {clips} clips: {middle:.1f} x the published algorithm ({low:.1f} to {high:.1f}), "
                f"{100 * row['equal_captions']:.1f} % of its captions",
                flush=True,
            )
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "report.json").write_text(json.dumps(report, indent=2))


def _ours(
    options: argparse.Namespace, clap: Clap, audio: FloatArray, wanted: list[str], *, fast: bool
) -> dict[str, Any]:
    """Seconds of each round, what was computed in the last one, and how many captions are the baseline's."""
    seconds = []
    for _ in range(options.repeats):
        captioner = load(options.captioner, clap=clap, fast=fast)  # remembers nothing
        started = time.perf_counter()
        captions = captioner.caption(audio, [()] * len(audio))
        seconds.append(time.perf_counter() - started)
    pairs = list(zip(captions, wanted, strict=False))
    return {
        "seconds": seconds,
        "texts": captioner.search.texts.encoded,
        "rows": captioner.search.states.rows,
        "keyword_lists": len({tuple(words) for words in captioner.keywords(audio)}),
        "equal_captions": sum(ours == theirs for ours, theirs in pairs) / len(pairs),
    }


def load(name: str, *, clap: Clap | None, fast: bool) -> ZerAuCapCaptioner:
    """A captioner that has done nothing yet."""
    captioner = load_captioner(name, fast=fast)
    assert isinstance(captioner, ZerAuCapCaptioner)
    if clap is not None:
        captioner.read_text_with(clap)
    return captioner


class Published:
    """The published algorithm, with the intended end penalty and alpha 0, on a captioner's parts."""

    def __init__(self, captioner: ZerAuCapCaptioner, clap: Clap) -> None:
        self._captioner, self._clap = captioner, clap
        self._language_model: LanguageModel = captioner.language_model
        self.texts = self.rows = 0

    @torch.inference_mode()
    def caption(self, audio: FloatArray) -> str:
        """One clip, a token at a time."""
        tokenizer, search = self._language_model.tokenizer, self._captioner.decode
        keywords = self._captioner.keywords(audio[None])
        [prompt] = compose_keyword_prompts(keywords, self._captioner.prompt, tokenizer)
        output = self._language_model.model(torch.tensor([prompt]), use_cache=True)
        logits, past, new = output.logits[0, -1], output.past_key_values, list[int]()
        while len(prompt) + len(new) < search.max_tokens:
            best = logits.softmax(-1).topk(search.candidates)
            candidates = best.indices.tolist()
            # Every candidate is read on, as the released code does: of alpha's term and of the winner's next logits.
            read = _rows(past, [0] * len(candidates))
            output = self._language_model.model(best.indices[:, None], past_key_values=read, use_cache=True)
            texts = candidate_texts(tokenizer, new, candidates, limit=search.text_tokens)
            cosines = self._clap.embed_text(texts).astype(np.float64) @ audio
            self.texts, self.rows = self.texts + len(texts), self.rows + len(candidates)
            fit = np.exp(search.kappa * cosines)
            scores = best.values.numpy() + search.beta * fit / fit.sum()
            ends = np.isin(candidates, list(self._captioner.search.endings))
            winner = int(np.argmax(np.where(ends, scores * search.gamma * len(new), scores)))
            new.append(candidates[winner])
            if ends[winner]:
                break
            logits = output.logits[winner, -1]
            past = _rows(output.past_key_values, [winner])
        return self._captioner.prompt.caption_of(finished_text(tokenizer, new))


def _rows(cache: DynamicCache, rows: list[int]) -> DynamicCache:
    return DynamicCache([(layer.keys[rows], layer.values[rows]) for layer in cache.layers])


if __name__ == "__main__":
    main()
