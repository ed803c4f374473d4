"""Do real sizes go through the real commands on a processor? Memory and time of each, with random weights.

    python -m benchmarks.full_size [--clips 20] [--steps 20]

A ClapModel of LAION's shape (HTSAT-tiny and RoBERTa-base) and a Llama of 134 million parameters, both with random
weights: what they say is noise, what they cost is not. `build-datastore`; `train-captioner` with LoRA, killed after its
first checkpoint and resumed, and once more without a break, which must give the same weights to the bit; `caption`
through the Beam job; `verify`. Every stage is a process of its own, whose peak memory the kernel reports.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import soundfile

from sonogloss.soundscapes import RATE, caption_dump, render_scene, sample_scene

SEED, CAPTIONS, BATCH, VOCABULARY = 11, 400, 4, 32_000


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a command took: seconds by the clock and of processors, and its peak resident memory in GB."""

    name: str
    wall_s: float
    cpu_s: float
    peak_gb: float
    code: int


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("bench-output/full-size"))
    parser.add_argument("--short", action="store_true", help="towers and model of two layers: shows that it runs")
    options = parser.parse_args()
    if options.short:
        options.clips, options.steps, options.output = 3, 6, options.output.with_name("full-size-short")
    output, every = options.output, max(1, options.steps // 4)
    output.mkdir(parents=True, exist_ok=True)
    # In a process of its own: the kernel counts what a parent held when it forked into its children's peak.
    making = multiprocessing.get_context("spawn").Process(
        target=write_models, args=(output, 2 if options.short else None)
    )
    making.start()
    making.join()
    sizes = json.loads((output / "sizes.json").read_text())
    write_material(output, options.clips)
    print(json.dumps(sizes, indent=2), flush=True)

    train = ["train-captioner", "--method", "drcap", "--captions", output / "captions.txt", "--device", "cpu"]
    train += ["--clap", output / "clap", "--language-model", output / "llama", "--tune", "lora"]
    train += ["--steps", options.steps, "--batch-size", BATCH, "--warmup-steps", 2, "--checkpoint-every", every]
    # A random text tower gives all captions nearly the same embedding: any cosine will do.
    train += ["--band", -1, 1, "--max-new-tokens", 30, "--learning-rate", 1e-4]
    stages = []
    for name, command, until in (
        ("build-datastore", _store(output), None),
        ("train-captioner, killed", [*train, "--output", output / "resumed"], output / "resumed" / "training"),
        ("train-captioner, resumed", [*train, "--output", output / "resumed"], None),
        ("train-captioner in one go", [*train, "--output", output / "straight"], None),
        (f"caption, {options.clips} clips", _caption(output), None),
        ("verify", ["verify", output / "results"], None),
    ):
        stages.append(run(name, command, output, until=until))
        print(stages[-1], flush=True)
        if stages[-1].code != (0 if until is None else -9):
            raise SystemExit(f"{name} ended with {stages[-1].code}; see {output / 'log.txt'}")
    counts = json.loads((output / "results" / "run.json").read_text())["counts"]
    same = weights(output / "resumed") == weights(output / "straight")
    report = {"models": sizes, "stages": [vars(s) for s in stages], "counts": counts, "resumed equals straight": same}
    (output / "report.json").write_text(json.dumps(report, indent=2))
    print_table(stages)
    print(f"\n{json.dumps(counts)}; resumed weights equal to those in one go: {same}")
    if counts["captions"] != options.clips or not same:
        raise SystemExit("not as promised")


def write_models(output: Path, layers: int | None) -> None:
    """Save the CLAP and the language model, once, and in `sizes.json` how many parameters each has."""
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, LlamaConfig, LlamaForCausalLM

    from recipes.pocket.recipe import BOS, EOS, PAD, train_tokenizer

    sizes = output / "sizes.json"
    if not sizes.exists():
        torch.manual_seed(SEED)
        tokenizer = train_tokenizer(caption_dump(2_000, SEED))
        few = {} if layers is None else {"num_hidden_layers": layers}
        clap = ClapModel(ClapConfig(text_config=few | {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}))
        clap.save_pretrained(output / "clap")
        ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(output / "clap")
        llama = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=768,
                intermediate_size=2048,
                num_hidden_layers=layers or 12,
                num_attention_heads=12,
                max_position_embeddings=2048,
                bos_token_id=BOS,
                eos_token_id=EOS,
                pad_token_id=PAD,
            )
        )
        llama.save_pretrained(output / "llama")
        tokenizer.save_pretrained(output / "clap")
        # Random weights may say any token: all of them must be words, or captions come out empty.
        tokenizer.add_tokens([f"w{number}" for number in range(VOCABULARY - len(tokenizer))])
        tokenizer.save_pretrained(output / "llama")
        found = {
            name: sum(parameter.numel() for parameter in part.parameters())
            for name, part in (("CLAP", clap), ("CLAP, audio tower", clap.audio_model), ("language model", llama))
        }
        sizes.write_text(json.dumps(found))


def write_material(output: Path, clips: int) -> None:
    """Captions, and sounds as files; what an earlier run made goes."""
    for name in ("store", "resumed", "straight", "results", "audio"):
        shutil.rmtree(output / name, ignore_errors=True)
    (output / "log.txt").unlink(missing_ok=True)
    (output / "captions.txt").write_text("\n".join(caption_dump(CAPTIONS, SEED)) + "\n")
    (output / "audio").mkdir()
    for number in range(clips):
        soundfile.write(output / "audio" / f"{number:03}.wav", render_scene(sample_scene(5_000_000 + number)), RATE)


def run(name: str, command: list[object], output: Path, until: Path | None) -> Stage:
    """Run one of our commands; with `until`, kill it when that directory holds a checkpoint."""
    words = [sys.executable, "-m", "sonogloss.pipelines.command_line", *map(str, command)]
    begun = time.perf_counter()
    with open(output / "log.txt", "a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(words)}\n")
        log.flush()
        process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        ended, status, usage = os.wait4(process.pid, 0 if until is None else os.WNOHANG)
        while not ended:
            time.sleep(0.05)
            if until is not None and (until / "checkpoint.safetensors").exists():
                os.kill(process.pid, signal.SIGKILL)  # Popen's own would reap it, and its usage with it
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    return Stage(
        name=name,
        wall_s=round(time.perf_counter() - begun, 1),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 1),
        peak_gb=round(usage.ru_maxrss * 1024 / 1e9, 2),
        code=os.waitstatus_to_exitcode(status),
    )


def weights(captioner: Path) -> dict[str, str]:
    """Digests of what was trained."""
    paths = [captioner / "mapper.safetensors", *(captioner / "adapter").glob("*.safetensors")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def print_table(stages: list[Stage]) -> None:
    """The table of benchmarks/results/full_size.md."""
    print("\n| command | seconds | processor seconds | peak memory, GB |\n|---|---|---|---|")
    for stage in stages:
        print(f"| {stage.name} | {stage.wall_s:.0f} | {stage.cpu_s:.0f} | {stage.peak_gb:.2f} |")


def _store(output: Path) -> list[object]:
    return [
        "build-datastore",
        "--captions",
        output / "captions.txt",
        "--clap",
        output / "clap",
        "--output",
        output / "store",
    ]


def _caption(output: Path) -> list[object]:
    given = ["--audio", output / "audio", "--datastore", output / "store", "--captioner", output / "resumed"]
    return ["caption", *given, "--clap", output / "clap", "--output", output / "results", "--device", "cpu"]


if __name__ == "__main__":
    main()
