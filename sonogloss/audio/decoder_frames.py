"""Messages between a worker and its decoder process, and the memory they share.

A frame is a head, the size of each array in bytes, and a pickle (protocol 5) of the record without its arrays. The
arrays lie in shared memory, one after another, or follow the pickle when they do not fit there. Behind the room for
arrays are two windows, through which the child sees files that the worker has open.

The child handles files of unknown origin, so the worker unpickles arrays and plain records of ours, and refuses
everything else that a pickle could call.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
import sys
from collections.abc import Sequence
from enum import Enum, IntEnum
from functools import cache
from typing import Any

from sonogloss.errors import ClipError, Code, SonoglossError

HEAD = struct.Struct("<BIIq")  # kind, bytes of the pickle, number of arrays, a value
INLINE = -1

ARRAY_BYTES = 8 << 20  # at most so much decoded sound waits for the worker
WINDOW_BYTES = 1 << 18
SHARED_BYTES = ARRAY_BYTES + 2 * WINDOW_BYTES

_NUMPY_CALLS = {"_frombuffer", "_reconstruct", "scalar", "ndarray", "dtype"}


class Kind(IntEnum):
    """What a frame says. REQUEST and ANSWER are the worker's, the others the child's."""

    REQUEST = 0  # first the decoding function and its memory, then file after file
    READY = 1  # the decoding function is imported
    ITEM = 2  # an item; value: where its arrays begin in shared memory, or INLINE
    ALIVE = 3  # it works and has no item yet
    END = 4  # the file is decoded
    FAILED = 5  # the exception that ended it, and what was printed
    OUT_OF_MEMORY = 6
    READ = 7  # value: move the file's window there
    FULL = 8  # shared memory is full: say when everything before this is read
    ANSWER = 9  # to READ: the bytes in the window, -1 when they cannot be read; to FULL: 0


def window(number: int) -> slice:
    """Where the window of the file with this number lies; requests are numbered as they are made."""
    begin = ARRAY_BYTES + number % 2 * WINDOW_BYTES
    return slice(begin, begin + WINDOW_BYTES)


def pack(record: Any) -> tuple[bytes, list[memoryview]]:
    """The pickle of a record, and its arrays as bytes."""
    arrays: list[pickle.PickleBuffer] = []
    body = pickle.dumps(record, protocol=5, buffer_callback=arrays.append)
    return body, [array.raw() for array in arrays]


def frame(kind: Kind, body: bytes = b"", sizes: Sequence[int] = (), value: int = 0) -> bytes:
    """A frame, up to arrays that follow inline."""
    return HEAD.pack(kind, len(body), len(sizes), value) + struct.pack(f"<{len(sizes)}Q", *sizes) + body


def request(record: Any) -> bytes:
    """A request of the worker."""
    return frame(Kind.REQUEST, pickle.dumps(record, protocol=5))


def unpack(body: bytes, arrays: Sequence[Any]) -> Any:
    """The record of a frame of the child.

    Raises:
        pickle.UnpicklingError: it holds something other than arrays and plain records of ours.
    """
    return _RecordUnpickler(io.BytesIO(body), buffers=arrays).load()


class _RecordUnpickler(pickle.Unpickler):
    """Knows numpy's arrays and scalars, our dataclasses, enums and exceptions; nothing that acts."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == ("builtins", "getattr"):
            return _enum_member
        if not _is_data(module_name, global_name):
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not data")
        return super().find_class(module_name, global_name)


def _enum_member(owner: Any, name: str) -> Enum:
    """Python 3.11.2 pickles members of an enum as `getattr(owner, name)`; nothing else is got by that."""
    if not (isinstance(owner, type) and issubclass(owner, Enum)):
        raise pickle.UnpicklingError("builtins.getattr is not data")
    return owner[name]


@cache
def _is_data(module_name: str, name: str) -> bool:
    root = module_name.partition(".")[0]
    if root == "numpy":
        return name in _NUMPY_CALLS
    found = getattr(sys.modules.get(module_name), name, None)
    is_record = isinstance(found, type) and (
        dataclasses.is_dataclass(found) or issubclass(found, Enum | SonoglossError)
    )
    return root == "sonogloss" and is_record


def clip_error(error: Exception) -> SonoglossError:
    """What a decoding function raised, as an error of ours: the file is CORRUPT where it raised something else."""
    if isinstance(error, SonoglossError):
        return error
    return ClipError(Code.CORRUPT, f"Decoding failed ({type(error).__name__}: {error}).")


def unreadable(error: Exception) -> SonoglossError:
    """What reading a file raised, as an error of ours."""
    if isinstance(error, SonoglossError):
        return error
    return ClipError(Code.READ_ERROR, f"The file cannot be read ({type(error).__name__}: {error}).")


def out_of_memory(memory_bytes: int) -> ClipError:
    """A file whose decoding needs too much memory."""
    return ClipError(Code.LIMIT, f"Decoding needs more than {memory_bytes / 2**20:,.0f} MiB of memory.")
