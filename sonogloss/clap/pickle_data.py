"""Interpret a pickle of torch.save as data: no object of it is made and no code of it runs.

Unpickling calls whatever the pickle names; published checkpoints contain numpy scalars, argparse namespaces and
optimizers, so that even a loader with a list of permitted names refuses some of them. Here the opcodes are interpreted
as data: tensors, ordered dictionaries and plain values are rebuilt, and every other object becomes an
:class:`Unknown`, which is empty.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MARK = object()


class Unknown:
    """In place of an object that is not rebuilt."""


@dataclass(frozen=True)
class Name:
    """The name of a function or class in the pickle; nothing is imported."""

    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    """Raw numbers in the archive: member `data/<key>`, `size` elements of `dtype`."""

    key: str
    dtype: torch.dtype
    size: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the archive, not read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickle(content: bytes) -> Any:
    """The content of a pickle, without calling anything that it names.

    Raises:
        ValueError: it is not a pickle, or uses an opcode that torch.save does not write. Other errors (TypeError,
            KeyError ...) where it is malformed.
    """
    return _PickleMachine().run(content)


class _PickleMachine:
    """The stack machine of a pickle, with every call replaced by :func:`_call`."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(BytesIO(content)):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise ValueError("it ends early")

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._marked()
            case "DUP":
                stack.append(stack[-1])
            case "EXT1" | "EXT2" | "EXT4" | "PERSID" | "NEXT_BUFFER" | "READONLY_BUFFER":
                raise ValueError(f"torch.save does not write {opcode}")
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case _ if not (self._container(opcode) or self._object(opcode, argument)):
                stack.append(argument)  # the other opcodes push their argument, a plain value

    def _container(self, opcode: str) -> bool:
        """Tuples, lists and dictionaries; False for another opcode."""
        stack = self.stack
        match opcode:
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                stack[-count:] = [tuple(stack[-count:])]
            # A set becomes a list: no caller needs one, and its members may not be hashable.
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "LIST" | "FROZENSET":
                stack.append(self._marked())
            case "APPEND" | "APPENDS" | "ADDITEMS":
                items = [stack.pop()] if opcode == "APPEND" else self._marked()
                if isinstance(stack[-1], list):
                    stack[-1].extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                stack.append(_pairs(self._marked()))
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if opcode == "SETITEM" else self._marked()
                if isinstance(stack[-1], dict):
                    stack[-1].update(_pairs(items))
            case _:
                return False
        return True

    def _object(self, opcode: str, argument: Any) -> bool:
        """Names, calls and references to storages; False for another opcode."""
        stack = self.stack
        match opcode:
            case "GLOBAL":
                stack.append(Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(Name(stack.pop(-2), stack.pop()))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_call(function, arguments))
            case "NEWOBJ_EX":
                del stack[-3:]
                stack.append(Unknown())
            case "BUILD":
                stack.pop()  # the state of an object that was not made
            case "INST" | "OBJ":
                self._marked()
                stack.append(Unknown())
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case _:
                return False
        return True

    def _marked(self) -> list[Any]:
        """Pop the values above the last mark, and the mark."""
        place = next((n for n in range(len(self.stack) - 1, -1, -1) if self.stack[n] is _MARK), None)
        if place is None:
            raise ValueError("a mark is missing")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values


def _pairs(items: list[Any]) -> dict[str | int, Any]:
    """Alternating keys and values as a dictionary; only strings and numbers are kept as keys."""
    return {k: v for k, v in zip(items[::2], items[1::2], strict=True) if isinstance(k, str | int)}


def _call(function: Any, arguments: Any) -> Any:
    """In place of the result of a call."""
    match function:
        case Name("collections", "OrderedDict"):
            return {}
        case Name("torch._utils", "_rebuild_tensor_v2"):
            storage, offset, shape, stride = arguments[:4]
            if not isinstance(storage, Storage) or not _whole([offset, *shape, *stride]) or len(shape) != len(stride):
                raise ValueError("a tensor is malformed")
            return StoredTensor(storage, offset, tuple(shape), tuple(stride))
        case Name("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"):
            return arguments[0]
    return Unknown()


def _storage(reference: Any) -> Storage | Unknown:
    """The storage of a persistent id `("storage", class, key, device, size)`."""
    match reference:
        case ("storage", Name("torch", str(kind)), str(key), _, int(size)) if kind in _STORAGES and _whole([size]):
            return Storage(key, _STORAGES[kind], size)
    return Unknown()


def _whole(numbers: list[Any]) -> bool:
    return all(isinstance(number, int) and number >= 0 for number in numbers)
