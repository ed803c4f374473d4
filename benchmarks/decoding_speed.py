"""How fast are captions decoded? Ours against a loop as the reference's, and against the passes nobody can do without.

    python -m benchmarks.decoding_speed [--prompts 96] [--rounds 3] [--models pocket llama] [--reference-batch 4]

Both sides search with 4 beams, in float32, on the same prompts: three retrieved captions and a soft vector, as DRCap
has them. The reference takes batches of 4 as they come, or of `--reference-batch`, pads them on the left and calls
`generate` of transformers. They alternate in one process; every round prints the ratio of their times, and how many
captions are equal. The same is said in seconds of processor time, which other programs on the machine disturb less.

The limit is the time of the bare passes: the same prompts read in the same batches and the same number of rows in
every step, through the same model without cache, mask and search. What it leaves over is what the engine costs.

`pocket` is the shipped decoder (3.7 M parameters) with its own mapper. `llama` is a Llama with 134 M random weights
(12 layers of 768, 32000 tokens). Any other name is the directory of a DRCap captioner. Random weights never end a
sentence but run in circles, so tokens of `llama` are given ages that can only rise: a direction in the embeddings says
how old a token is, the output layer answers with older ones, and past a certain age the end of the text may come.
Captions then have lengths like those of people; the work is the same.

With `--alone --device cuda --models llama-7b --batch-size 128` ours runs alone (on a GPU in bfloat16), and is compared
with the time that reading all weights once a pass takes by itself.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from sonogloss.clap import load_clap
from sonogloss.decoding.generate import generate
from sonogloss.decoding.language_model import LanguageModel, to_int8
from sonogloss.decoding.sequences import AUDIO_SLOT, fill_slots
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods import load_captioner
from sonogloss.methods.drcap.prompt import compose_prompts
from sonogloss.onednn_linear import use_onednn
from sonogloss.soundscapes import caption_dump

LLAMAS = {  # width, layers, width of the perceptrons, heads
    "llama": (768, 12, 2048, 12),
    "llama-7b": (4096, 32, 11008, 32),
    "llama-toy": (64, 2, 128, 4),
}

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What both sides are given."""

    model: LanguageModel
    prompts: list[list[int]]
    soft: Tensor
    settings: DecodeSettings
    reference_batch: int

    def ours(self) -> list[list[int]]:
        """All prompts through the engine."""
        return generate(self.model, self.prompts, self.soft, self.settings)

    def like(self, model: Any) -> Work:
        """The same for another model."""
        return replace(self, model=LanguageModel(model=model, tokenizer=self.model.tokenizer))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["pocket", "llama"], help="of these, or a DRCap captioner")
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--reference-batch", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--alone", action="store_true", help="ours only, against the memory's bandwidth")
    parser.add_argument("--float32", action="store_true", help="leave weights of fewer bits out")
    parser.add_argument("--compiled", action="store_true", help="compile the steps of beams")
    parser.add_argument("--output", type=Path, default=Path("bench-output/decoding-speed"))
    parser.add_argument("--short", action="store_true", help="24 prompts, 1 round")
    options = parser.parse_args()
    prompts, rounds = (24, 1) if options.short else (options.prompts, options.rounds)
    report: dict[str, Any] = {"prompts": prompts, "batch_size": options.batch_size, "threads": torch.get_num_threads()}
    for name in options.models:
        work = prepare(name, prompts, options.batch_size, options.device, options.reference_batch)
        if options.compiled:
            step = torch.compile(work.model.model.forward, dynamic=False)
            work = replace(work, model=replace(work.model, compiled_forward=step))
        report[name] = against_memory(work, rounds) if options.alone else against_peers(work, rounds)
        if not (options.alone or options.float32):
            kinds = ("bfloat16", "int8") if options.device == "cpu" else ("bfloat16", "float16", "int8")
            report[name] |= {kind: in_few_bits(work, kind, rounds) for kind in kinds}
    report["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if torch.cuda.is_available():
        report["device"] = torch.cuda.get_device_name()
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "report.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))


def prepare(name: str, prompts: int, batch_size: int, device: str, reference_batch: int) -> Work:
    """A model, and prompts with three captions from the pocket grammar each, in no order."""
    said = list(caption_dump(3 * prompts, 5))
    contexts = [said[3 * i : 3 * i + 3] for i in range(prompts)]
    captioner: Any = load_captioner("pocket" if name in LLAMAS else name, device=device, precision="float32")
    if name in LLAMAS:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        llama = ageing_llama(*LLAMAS[name], device=device, dtype=dtype)
        use_onednn(llama)
        model = LanguageModel(model=llama, tokenizer=captioner.language_model.tokenizer)
        soft = torch.randn(prompts, 1, model.width, generator=torch.Generator().manual_seed(2))
        settings = DecodeSettings(max_new_tokens=48)
    else:
        model, settings = captioner.language_model, captioner.decode
        told = load_clap(captioner.clap.name).embed_text([first for first, *_ in contexts])
        with torch.inference_mode():
            soft = captioner.mapper.to("cpu")(torch.from_numpy(told))
    ids = compose_prompts(contexts, captioner.prompt, model.tokenizer)
    settings = replace(settings, batch_size=batch_size)
    return Work(model=model, prompts=ids, soft=soft.to(device), settings=settings, reference_batch=reference_batch)


def ageing_llama(
    width: int, layers: int, inner: int, heads: int, *, device: str, dtype: torch.dtype, oldest: int = 32, end: int = 14
) -> LlamaForCausalLM:
    """A random Llama whose tokens grow older by one or two a step and which may stop from the age `end` on."""
    torch.manual_seed(0)
    vocabulary, eos = 32_000, 2
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=512,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=eos,
        dtype=dtype,
    )
    with torch.device(device):
        model = LlamaForCausalLM(config).to(dtype).eval()
        ages = torch.randint(1, oldest + 1, (vocabulary,))
        ages[:1039] = 0  # the words of prompts
        directions = torch.linalg.qr(torch.randn(width, oldest + 1))[0].T
        scale = width**-0.5  # a normed state along a direction is 1 / scale long: weights below count in nats
        table = 16 * (directions[ages] + scale * torch.randn(vocabulary, width))
        head = 4 * scale * torch.randn(vocabulary, width)
        for step in (1, 2):
            follows = ages >= step
            head[follows] += 60 * scale * directions[ages[follows] - step]
        head[eos] = 20 * scale * torch.randn(width) + 72 * scale * directions[end:].sum(0)
        with torch.no_grad():
            model.get_input_embeddings().weight.copy_(table)
            model.get_output_embeddings().weight.copy_(head)
    return model


def against_peers(work: Work, rounds: int) -> dict[str, Any]:
    """Ours, the reference and the bare passes, alternately."""
    bare = bare_passes(work)  # runs ours once: warm
    reference(replace(work, prompts=work.prompts[: work.reference_batch]))
    ratios, busy, shares, memory = [], [], [], dict[str, float]()
    for number in range(rounds):
        begun = time.process_time()
        seconds, captions = timed(work.ours)
        memory["ours"] = device_gib()
        middle = time.process_time()
        theirs, expected = timed(lambda: reference(work))
        memory["reference"] = device_gib()
        ended = time.process_time()
        bare()
        ratios.append(theirs / seconds)
        busy.append((ended - middle) / (middle - begun))
        shares.append((time.process_time() - ended) / (middle - begun))
        equal = statistics.mean(ours == said for ours, said in zip(captions, expected, strict=True))
        print(
            f"round {number + 1}: ours {len(captions) / seconds:.2f} captions/s, reference "
            f"{len(captions) / theirs:.2f}, ratio {ratios[-1]:.2f}, of processor time {busy[-1]:.2f}; "
            f"equal {equal:.1%}; bare passes {shares[-1]:.0%} of ours",
            flush=True,
        )
    lengths = sorted(map(len, captions))
    return {
        "parameters": sum(weight.numel() for weight in work.model.model.parameters()),
        "prompt_tokens": statistics.median(map(len, work.prompts)),
        "caption_tokens": {"min": lengths[0], "median": statistics.median(lengths), "max": lengths[-1]},
        "equal": equal,
        "ours_captions_per_second": len(captions) / seconds,
        "device_gib": memory,
        "reference_seconds_over_ours": spread(ratios),
        "reference_processor_time_over_ours": spread(busy),
        "bare_passes_processor_time_over_ours": spread(shares),
    }


def reference(work: Work) -> list[list[int]]:
    """Batches in the order of arrival, padded on the left, through transformers' `generate` and torch's own products.

    Not in inference mode, in which our linear layers would take oneDNN for it, too.
    """
    model = work.model
    search = GenerationConfig(
        num_beams=work.settings.num_beams,
        max_new_tokens=work.settings.max_new_tokens,
        no_repeat_ngram_size=work.settings.no_repeat_ngram,
        renormalize_logits=work.settings.no_repeat_ngram > 0,  # ours gives what a rule forbids no share
        pad_token_id=model.pad_id,
        bos_token_id=model.bos_id,
        eos_token_id=model.eos_id,
    )
    found = []
    with torch.no_grad():
        for start in range(0, len(work.prompts), work.reference_batch):
            rows = work.prompts[start : start + work.reference_batch]
            longest = max(map(len, rows))
            pads = [longest - len(row) for row in rows]
            padded = [[model.pad_id] * pad + row for pad, row in zip(pads, rows, strict=True)]
            ids = torch.tensor(padded, device=work.soft.device)
            mask = (torch.arange(longest) >= torch.tensor(pads)[:, None]).long().to(ids.device)
            words = model.model.get_input_embeddings()(ids.clamp(min=0))
            vectors = fill_slots(words, ids == AUDIO_SLOT, work.soft[start : start + work.reference_batch])
            output = model.model.generate(inputs_embeds=vectors, attention_mask=mask, generation_config=search)
            found += [row[: row.index(model.eos_id)] if model.eos_id in row else row for row in output.tolist()]
    return found


def passes(work: Work) -> list[tuple[int, ...]]:
    """The shapes of everything that ours puts through the model."""
    shapes: list[tuple[int, ...]] = []

    def note(_: Any, __: Any, named: dict[str, Any]) -> None:
        shapes.append(tuple(named["input_ids" if "input_ids" in named else "inputs_embeds"].shape[:2]))

    hook = work.model.model.register_forward_pre_hook(note, with_kwargs=True)
    work.ours()
    hook.remove()
    return shapes


def bare_passes(work: Work) -> Callable[[], None]:
    """The same shapes through the model, with nothing around it."""
    shapes = passes(work)

    @torch.inference_mode()
    def run() -> None:
        for shape in shapes:
            keep = 1 if shape[1] > work.settings.num_beams else 0
            work.model.model(
                input_ids=torch.full(shape, 5, device=work.soft.device), use_cache=False, logits_to_keep=keep
            )

    return run


def in_few_bits(work: Work, kind: str, rounds: int) -> dict[str, Any]:
    """Other weights against float32, alternately: speed, bytes, and how many captions stay the same."""
    model = deepcopy(work.model.model)
    if kind == "int8":
        to_int8(model)
    other = work.like(model if kind == "int8" else model.to(getattr(torch, kind)))
    captions, changed = work.ours(), other.ours()
    ratios = []
    for _ in range(rounds):
        seconds, _ = timed(other.ours)
        ratios.append(timed(work.ours)[0] / seconds)
    equal = statistics.mean(ours == said for ours, said in zip(captions, changed, strict=True))
    result = {
        "float32_seconds_over_its": spread(ratios),
        "bytes_over_float32": weighs(other) / weighs(work),
        "equal": equal,
    }
    print(f"{kind}: {json.dumps(result)}", flush=True)
    return result


def against_memory(work: Work, rounds: int) -> dict[str, Any]:
    """Ours against reading the weights once a pass, at the rate at which this device copies."""
    shapes = passes(work)
    everything, steps = len(shapes), sum(tokens == work.settings.num_beams for _, tokens in shapes)
    rate = bandwidth(work.soft.device)
    least = everything * weighs(work) / rate
    speeds, shares = [], []
    for _ in range(rounds):
        seconds, captions = timed(work.ours)
        speeds.append(len(captions) / seconds)
        shares.append(least / seconds)
    return {
        "captions_per_second": spread(speeds),
        "share_of_memory_bandwidth": spread(shares),
        "bandwidth_gb_s": rate / 1e9,
        "weights_gb": weighs(work) / 1e9,
        "passes": {"reading": everything - steps, "saying": steps},
    }


def bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy."""
    block = torch.zeros(1 << 28, device=device)
    block.clone()
    return max(2 * block.nbytes / timed(block.clone)[0] for _ in range(3))


def weighs(work: Work) -> int:
    """Bytes of a model's weights."""
    return sum(array.nbytes for array in (*work.model.model.parameters(), *work.model.model.buffers()))


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds, and what came out."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begun = time.perf_counter()
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun, result


def device_gib() -> float:
    """The most that tensors took on a GPU since this was last asked, the weights included."""
    if not torch.cuda.is_available():
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


def spread(values: list[float]) -> dict[str, float]:
    """The median, and the extremes."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


if __name__ == "__main__":
    main()
