"""Read the tensors of a file that torch.save wrote. No object of it is made and no code of it is run.

Such a file is a zip archive: `data.pkl` is a pickle of everything that was saved, tensors as references, and `data/N`
holds the raw numbers of storage N. Unpickling calls whatever the pickle names; published checkpoints carry numpy
scalars, argparse namespaces and optimizers that way, so that even a loader with a list of permitted names refuses some
of them. Here the opcodes are walked over as data: what rebuilds a tensor, an ordered dictionary and the plain values
are understood, and whatever else a pickle asks for becomes an :class:`Unknown` that holds nothing and does nothing.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch

from sonogloss import files
from sonogloss.errors import MissingInputError, ModelFormatError

_LARGEST_PICKLE = 1 << 28  # bytes; that of a checkpoint with its optimizer takes about one megabyte
_REMEDY = "Get the file again, or save it again with a current torch."
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
    """Stands where the pickle asks for an object that is none of ours."""


@dataclass(frozen=True)
class Name:
    """A function or class that the pickle names; nothing is imported."""

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
    """A tensor that lies in the archive, not read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class TorchFile:
    """An open file of torch.save.

    Attributes:
        content: what was saved, in dictionaries, lists, tuples and plain values, with a :class:`StoredTensor` for each
            tensor and an :class:`Unknown` for each other object.
    """

    def __init__(self, archive: zipfile.ZipFile, path: str) -> None:
        self._archive = archive
        self._path = path
        names = archive.namelist()
        self._root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if self._root is None:
            raise self._error("the archive has no data.pkl")
        if self._root + "byteorder" in names and archive.read(self._root + "byteorder") != b"little":
            raise self._error("its numbers are big-endian")
        if archive.getinfo(self._root + "data.pkl").file_size > _LARGEST_PICKLE:
            raise self._error("its data.pkl is larger than that of any checkpoint")
        try:
            self.content = read_pickle(archive.read(self._root + "data.pkl"))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise self._error(f"its data.pkl cannot be read: {error}") from error

    def read(self, tensor: StoredTensor) -> torch.Tensor:
        """The numbers of a tensor, contiguous, in the precision they were saved in.

        Raises:
            ModelFormatError: they are not there, or not as many as they should be.
        """
        storage = tensor.storage
        try:
            info = self._archive.getinfo(f"{self._root}data/{storage.key}")
        except KeyError as error:
            raise self._error(f"storage {storage.key!r} is missing") from error
        # torch never compresses; so no small file becomes a large one here.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != storage.size * storage.dtype.itemsize:
            raise self._error(f"storage {storage.key!r} is not {storage.size} numbers of {storage.dtype}")
        if math.prod(tensor.shape) > storage.size:
            raise self._error(f"storage {storage.key!r} holds less than its tensor")
        if storage.size == 0:
            return torch.empty(tensor.shape, dtype=storage.dtype)
        try:
            numbers = torch.frombuffer(bytearray(self._archive.read(info)), dtype=storage.dtype)
            return numbers.as_strided(tensor.shape, tensor.stride, tensor.offset).contiguous()
        except (zipfile.BadZipFile, RuntimeError, OSError) as error:
            raise self._error(f"storage {storage.key!r} is damaged ({error})") from error

    def _error(self, why: str) -> ModelFormatError:
        return ModelFormatError(f"{self._path!r} is not a file of tensors: {why}.", _REMEDY)


@contextmanager
def open_torch_file(path: str) -> Iterator[TorchFile]:
    """Open a file of torch.save (torch 1.6 or later), local or any fsspec URL.

    Raises:
        MissingInputError: there is no such file.
        ModelFormatError: it is something else.
    """
    if files.is_dir(path) or not files.exists(path):
        raise MissingInputError(f"The checkpoint {path!r} is not a file.", "Check the path.")
    with files.open_read(path) as handle:
        try:
            archive = zipfile.ZipFile(handle)
        except zipfile.BadZipFile as error:
            raise ModelFormatError(
                f"{path!r} is not a checkpoint of torch 1.6 or later ({error}).",
                "Get the file again; one of an older torch must be saved again with a newer.",
            ) from error
        with archive:
            yield TorchFile(archive, path)


def read_pickle(content: bytes) -> Any:
    """What a pickle holds, without calling anything that it names.

    Raises:
        ValueError: it is no pickle, or uses an opcode that torch.save does not. Others (TypeError, KeyError ...) where
            it contradicts itself.
    """
    return _Walk().run(content)


class _Walk:
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
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                stack[-count:] = [tuple(stack[-count:])]
            # A set is read as a list: nothing here asks for one, and its members need not be hashed.
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
            case _:  # the others put their argument, a plain value
                stack.append(argument)

    def _marked(self) -> list[Any]:
        """The values above the last mark, which goes too."""
        place = next((n for n in range(len(self.stack) - 1, -1, -1) if self.stack[n] is _MARK), None)
        if place is None:
            raise ValueError("a mark is missing")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values


def _pairs(items: list[Any]) -> dict[str | int, Any]:
    """Keys and values in turn as a dictionary. Other keys than names and numbers belong to nothing we look for."""
    return {k: v for k, v in zip(items[::2], items[1::2], strict=True) if isinstance(k, str | int)}


def _call(function: Any, arguments: Any) -> Any:
    """What stands for the result of a call that the pickle asks for."""
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
    """The storage that a persistent id `("storage", class, key, place, size)` stands for."""
    match reference:
        case ("storage", Name("torch", str(kind)), str(key), _, int(size)) if kind in _STORAGES and _whole([size]):
            return Storage(key, _STORAGES[kind], size)
    return Unknown()


def _whole(numbers: list[Any]) -> bool:
    return all(isinstance(number, int) and number >= 0 for number in numbers)
