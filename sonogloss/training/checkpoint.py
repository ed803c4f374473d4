"""The file of a checkpoint: safetensors, written whole and one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from sonogloss import files
from sonogloss.errors import ModelFormatError

CHECKPOINT = "checkpoint.safetensors"

_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def write_tensors(path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text in the safetensors format.

    The library's own function holds all bytes a second time, which for a large model is more than there is.

    Raises:
        OutputError: it cannot be written; a file that was there stays.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with files.atomic_write(path) as handle:
        handle.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors.values():
            numbers = tensor.detach().to("cpu").contiguous().reshape(-1)
            handle.write(numbers.view(torch.uint8).numpy().data)  # a view, no copy


def read_tensors(path: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, memory-mapped where the file is on this machine, and the text beside them.

    Raises:
        ModelFormatError: the file is damaged.
    """
    try:
        local = files.local_path(path)
        if local is not None:
            with safetensors.safe_open(local, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
        content = files.read_bytes(path)
        header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return safetensors.torch.load(content), header["__metadata__"]
    except (SafetensorError, KeyError, ValueError) as problem:
        raise ModelFormatError(f"{path!r} is not a checkpoint ({problem}).", "Remove it to start anew.") from problem
