"""The precision of a training's matrix products; parameters, gradients and losses stay float32."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from sonogloss.errors import OptionError

_CPU_INFO = Path("/proc/cpuinfo")
_FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16"}
DIGEST_NAMES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""Names in the digests of checkpoints, which keep the spelling of the first release so that old runs resume."""


def choose_precision(precision: str, device: str) -> str:
    """The precision to compute in.

    Args:
        precision: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 where the hardware computes it fast, that is on
            a CUDA device with bfloat16 units and on a CPU with AVX512-BF16 or AMX-BF16; float32 elsewhere.
        device: as torch names it, `cpu` or `cuda:1`.

    Returns:
        `float32`, `bfloat16` or `float16`.

    Raises:
        OptionError: float16 on a CPU.
    """
    kind = device.partition(":")[0]
    if precision == "auto":
        return "bfloat16" if _has_fast_bfloat16(kind) else "float32"
    if precision == "float16" and kind == "cpu":
        raise OptionError("precision is 'float16', which a CPU does not train in.", "Choose auto, float32 or bfloat16.")
    return precision


def describe_precision(precision: str, device: str) -> str:
    """The choice in words: `precision float32 (auto: this CPU has no fast bfloat16)`."""
    chosen = choose_precision(precision, device)
    if precision != "auto":
        return f"precision {chosen}"
    hardware = "CPU" if device.startswith("cpu") else "device"
    return f"precision {chosen} (auto: this {hardware} has {'no ' if chosen == 'float32' else ''}fast bfloat16)"


def autocast(device: str, precision: str) -> torch.autocast:
    """The context in which a forward pass computes in a chosen precision."""
    return torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")


def _has_fast_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu" or not _CPU_INFO.exists():
        return False
    flags = re.search(r"^flags\s*:(.*)$", _CPU_INFO.read_text(), flags=re.MULTILINE)
    return flags is not None and not _FAST_BFLOAT16.isdisjoint(flags[1].split())
