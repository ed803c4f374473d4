"""How much of a text tower's work is padding, and what embedding costs beside the same tower padded to 77 tokens.

The tower has the shape of LAION's (RoBERTa-base, 12 layers of 768) and random weights. Its tokenizer is a byte-level
BPE of 50,265 entries, trained on the captions themselves: words that are frequent in captions are one token, as they
are for RoBERTa. Padding to 77 tokens, in batches in the order of the file, is what CLAP's own scripts do. Both ways
take one thread and alternate; processor seconds a caption are compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.datastore_build import caption
from benchmarks.real_text_data import read_corpora
from recipes.pocket.recipe import BOS, EOS, PAD, train_tokenizer
from sonogloss.clap import load_clap
from sonogloss.clap.transformers_clap import TransformersClap, as_transformers, pad, token_batches

PADDED, BATCH = 77, 64


def write_clap(folder: Path, texts: Sequence[str], layers: int) -> TransformersClap:
    """A CLAP of LAION's shape with random weights."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    torch.manual_seed(0)
    tokenizer = train_tokenizer(texts, entries=50_265)
    tokenizer.model_max_length = 512
    text = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "num_hidden_layers": layers}
    ClapModel(ClapConfig(text_config=text)).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return as_transformers(load_clap(str(folder)), "tokens")


def ratio(batches: Iterator[tuple[Sequence[int], int]], lengths: Sequence[int]) -> float:
    """Positions that the tower computes for one that holds a token."""
    return sum(len(rows) * width for rows, width in batches) / sum(lengths)


def widest(order: Sequence[int], lengths: Sequence[int]) -> Iterator[tuple[Sequence[int], int]]:
    """Batches in this order, each as wide as its longest text."""
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        yield rows, max(lengths[row] for row in rows)


def print_ratios(clap: TransformersClap, texts: Sequence[str]) -> None:
    """A table of ways to make batches."""
    lengths = [len(tokens) for tokens in clap.tokenize(texts)]
    rows = range(len(texts))
    print(f"{len(texts):,} captions, {sum(lengths) / len(texts):.1f} tokens each\n")
    print("| batches | positions a token |\n|---|---|")
    ways: dict[str, Any] = {
        "build-datastore: by tokens, to the next even number": token_batches(lengths, 512),
        "of 64, sorted by letters": widest(sorted(rows, key=lambda row: len(texts[row])), lengths),
        "of 64, in the order of the file": widest(rows, lengths),
        "padded to 77": ((rows[start : start + BATCH], PADDED) for start in range(0, len(rows), BATCH)),
    }
    for name, batches in ways.items():
        print(f"| {name} | {ratio(batches, lengths):.3f} |")


def embed_padded(clap: TransformersClap, texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """The same tower, in the order of the texts, everything padded to 77."""
    found = []
    for start in range(0, len(texts), BATCH):
        ids, mask = pad([tokens[:PADDED] for tokens in clap.tokenize(texts[start : start + BATCH])], PAD, PADDED)
        with torch.inference_mode():
            output = clap.model.get_text_features(input_ids=ids, attention_mask=mask)
        vectors = getattr(output, "pooler_output", output)
        found.append(torch.nn.functional.normalize(vectors, dim=-1).numpy())
    return np.concatenate(found)


def seconds(embed: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a call, and what it returned."""
    start = time.process_time()
    found = embed()
    return time.process_time() - start, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, default=Path("../shared/data/captions"), help="AudioCaps and Clotho")
    parser.add_argument("--embedded", type=int, default=2_000)
    parser.add_argument("--padded", type=int, default=256, help="captions of a round that are embedded padded as well")
    parser.add_argument("--output", type=Path, default=Path("bench-output/text_padding"))
    parser.add_argument("--short", action="store_true", help="two layers, 200 captions")
    options = parser.parse_args()
    layers, embedded, padded = (2, 200, 64) if options.short else (12, options.embedded, options.padded)
    texts = [caption(number) for number in range(20_000)]
    if options.captions.is_dir():
        texts = read_corpora(options.captions)["audiocaps"].train
    clap = write_clap(options.output, texts, layers)
    print_ratios(clap, texts)
    torch.set_num_threads(1)
    chosen = np.random.default_rng(0).choice(len(texts), embedded, replace=False)
    sample = [texts[row] for row in chosen]
    half = embedded // 2
    ours, peer = [], []
    for part in (sample[:half], sample[half:]):
        spent, vectors = seconds(lambda part=part: clap.embed_text(part))
        ours.append(spent / len(part))
        spent, others = seconds(lambda part=part: embed_padded(clap, part[: padded // 2]))
        peer.append(spent / (padded // 2))
        assert np.abs(vectors[: padded // 2] - others).max() < 1e-4, "the embeddings differ"
    ratios = ", ".join(f"{one / other:.2f}" for one, other in zip(peer, ours, strict=True))
    print(f"\n{embedded:,} captions, ms of processor each: {1e3 * np.mean(ours):.2f}; padded {1e3 * np.mean(peer):.2f}")
    print(f"times faster, each round: {ratios}")


if __name__ == "__main__":
    main()
