"""What does each part of DRCap and of soft and hard prompts bring, inside a domain and across two? Three seeds.

    python -m benchmarks.two_domains [--seeds 0 1 2] [--jobs 2]     train, caption, score; go on where it was killed
    python -m benchmarks.two_domains --table                        print the tables of results/two_domains.md

Two synthetic domains of disjoint classes and styles (:mod:`benchmarks.domains`), the shipped pocket CLAP, and eight
decoders a domain and seed (:mod:`benchmarks.domain_methods`), each asked about the 300 test scenes of its own domain
and of the other. Across domains the target's captions are datastore and support, as DRCap proposes. A decoder learns
from captions of its own domain only; the language model that it starts from has read both styles over all classes.

Every captioner and every row is kept under `--output`; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.domain_methods import METHODS, SHORT, TEMPERATURE, Method, Sizes, conditions, train_method

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # glibc otherwise gives large tensors back to the kernel at every step, and half the time goes into page faults.
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**28),
}


def main() -> None:
    """Run, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--output", type=Path, default=Path("bench-output/two-domains"))
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--short", action="store_true", help="one seed and toy sizes: shows that it runs, not more")
    options = parser.parse_args()
    sizes = Sizes()
    if options.short:
        sizes, options.seeds, options.output = SHORT, options.seeds[:1], options.output.with_name("two-domains-short")
    if not options.table:
        run(options.output, options.seeds, options.methods, sizes, options.jobs)
    from benchmarks.domain_tables import print_tables

    print_tables(options.output)


def run(output: Path, seeds: list[int], methods: list[str], sizes: Sizes, jobs: int) -> None:
    """Everything that is not there yet, the base language models first."""
    os.environ.update(_ONE_THREAD)  # the workers' libraries read it when they start
    (output / "rows").mkdir(parents=True, exist_ok=True)
    units = [(m, domain, seed) for seed in seeds for domain in ("A", "B") for m in methods]
    left = [unit for unit in units if not _rows_path(output, *unit).exists()]
    began = time.perf_counter()
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(render, [output] * 2, ("A", "B"), [sizes] * 2))
        list(pool.map(facts, [output] * 2, ("A", "B"), [sizes] * 2))
        list(pool.map(base, [output] * len(seeds), seeds, [sizes] * len(seeds)))
        running = [pool.submit(study, output, *unit, sizes) for unit in left]
        for number, (unit, future) in enumerate(zip(left, running, strict=True), 1):
            future.result()
            print(
                f"{number} of {len(left)}: {' '.join(map(str, unit))}, {time.perf_counter() - began:.0f} s", flush=True
            )


def base(output: Path, seed: int, sizes: Sizes) -> Path:
    """The base language model of a seed."""
    from benchmarks.base_language_model import base_language_model

    return base_language_model(output, seed, sizes.base_steps)


def render(output: Path, domain: str, sizes: Sizes) -> None:
    """The test scenes of a domain."""
    from benchmarks.domains import DOMAINS

    DOMAINS[domain].scenes(output, sizes.scenes)


def facts(output: Path, domain: str, sizes: Sizes) -> None:
    """Note how well the CLAP knows a domain."""
    known = material(output, sizes)
    _write(output / f"facts-{domain}.json", known["tests"][domain].facts(known["stores"][domain]) | asdict(sizes))


@cache
def material(output: Path, sizes: Sizes) -> dict[str, Any]:
    """What every unit of work in this process shares: the CLAP, tests and stores of both domains."""
    import torch

    from benchmarks.domains import DOMAINS, Store, Test
    from sonogloss.clap import load_clap

    torch.set_num_threads(1)
    clap = load_clap("pocket")
    return {
        "clap": clap,
        "stores": {name: Store.make(domain, clap, sizes.store) for name, domain in DOMAINS.items()},
        "tests": {name: Test.make(domain, clap, output, sizes.scenes) for name, domain in DOMAINS.items()},
    }


def study(output: Path, name: str, source: str, seed: int, sizes: Sizes) -> None:
    """Train one method on one domain, ask it about both in all conditions, and write the rows."""
    from benchmarks.domains import DOMAINS

    method, known, begun = METHODS[name], material(output, sizes), time.perf_counter()
    directory = train_method(
        method,
        DOMAINS[source],
        known["stores"][source],
        known["clap"],
        base(output, seed, sizes),
        seed,
        sizes,
        output / "captioners",
    )
    trained = time.perf_counter()
    rows = [row for target in DOMAINS for row in ask(directory, method, known, source, target)]
    times = {"train_s": round(trained - begun, 1), "ask_s": round(time.perf_counter() - trained, 1)}
    kept = [{"method": name, "seed": seed, "train": source} | row | times for row in rows]
    _write(_rows_path(output, name, source, seed), kept)


def ask(directory: Path, method: Method, known: dict[str, Any], source: str, target: str) -> list[dict[str, Any]]:
    """One row a condition: corpus scores, every scene's scores, and what was said."""
    from sonogloss.methods import load_captioner

    captioner, test, stores = load_captioner(str(directory)), known["tests"][target], known["stores"]
    domain_of = {"target": target, "source": source}
    rows = []
    for condition, contexts, embedding in conditions(method, cross=source != target):
        shown = stores[domain_of[contexts]].contexts(test.audio) if contexts in domain_of else [()] * len(test.audio)
        given = {"raw": test.audio, "oracle": test.own}.get(embedding)
        if given is None:
            given = stores[domain_of[embedding]].project(test.audio, TEMPERATURE)
        said = captioner.caption(given, shown)
        scores = test.score(said, known["clap"])
        rows.append(
            {
                "test": target,
                "condition": condition,
                "cider_d": float(scores["cider_d"].mean()),
                "event_f1": float(scores["micro_f1"]),
                "clap_sim": float(scores["clap_sim"].mean()),
                "scenes": {m: [round(float(x), 4) for x in scores[m]] for m in ("cider_d", "event_f1", "clap_sim")},
                "said": said,
            }
        )
    return rows


def _rows_path(output: Path, method: str, source: str, seed: int) -> Path:
    return output / "rows" / f"{method}-{source}-{seed}.json"


def _write(path: Path, value: object) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


if __name__ == "__main__":
    main()
