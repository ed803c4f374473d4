"""Messages between a worker and its decoder process: a kind, a record, and the arrays of the record.

A frame is a head, the size of each array in bytes, and the pickle of the record (protocol 5). The arrays lie in memory
that both processes share, one after another, or follow the pickle when they do not fit there. The decoder process
handles files of unknown origin, so its worker unpickles arrays and plain records of ours, and refuses everything else
that a pickle could call.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
import sys
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from sonogloss.errors import ClipError, Code, SonoglossError

HEAD = struct.Struct(
    "<BIIq"
)  # kind, bytes of the pickle, number of arrays, where they begin in shared memory or INLINE
INLINE = -1
SHARED_BYTES = 8 << 20  # at most so much decoded sound waits for the worker
ANSWER = struct.Struct("<q")  # to READ: the number of bytes that follow, -1 when they cannot be read; to ROOM: 0
_MOST_BUFFERS = 500  # of one writev; the system's limit is 1024

_NUMPY_CALLS = {"_frombuffer", "_reconstruct", "scalar", "ndarray", "dtype"}


class Kind(IntEnum):
    """What a frame says: a request of the worker, or one of the answers."""

    REQUEST = 0  # first the decoding function and the memory it may take, then file after file
    READY = 1  # the decoding function is imported
    ITEM = 2  # an item of the decoding function
    ALIVE = 3  # it works and has no item yet
    READ = 4  # (offset, size): send these bytes of the file
    END = 5  # the file is decoded
    FAILED = 6  # the exception that ended it
    OUT_OF_MEMORY = 7
    ROOM = 8  # answer when all frames before this one are read: shared memory is full


def pack(record: Any) -> tuple[bytes, list[memoryview]]:
    """The pickle of a record, and its arrays as bytes."""
    arrays: list[pickle.PickleBuffer] = []
    body = pickle.dumps(record, protocol=5, buffer_callback=arrays.append)
    return body, [array.raw() for array in arrays]


def pack_head(kind: Kind, body: bytes, sizes: Sequence[int], offset: int) -> memoryview:
    """A frame, up to the arrays."""
    head = HEAD.pack(kind, len(body), len(sizes), offset)
    return memoryview(head + struct.pack(f"<{len(sizes)}Q", *sizes) + body)


def pack_request(record: Any) -> list[memoryview]:
    """A request as one buffer."""
    return [pack_head(Kind.REQUEST, pickle.dumps(record, protocol=5), (), INLINE)]


def advance(buffers: list[memoryview], written: int) -> None:
    """Drop what has been written from the head of a list of buffers."""
    while buffers and written >= buffers[0].nbytes:
        written -= buffers.pop(0).nbytes
    if written:
        buffers[0] = buffers[0][written:]


def next_buffers(buffers: Sequence[memoryview]) -> Sequence[memoryview]:
    """As many buffers as one system call takes."""
    return buffers[:_MOST_BUFFERS]


def unpack(body: bytes, arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    """The record of a frame.

    Raises:
        pickle.UnpicklingError: it holds something other than arrays and plain records of ours.
    """
    return RecordUnpickler(io.BytesIO(body), buffers=arrays).load()


class RecordUnpickler(pickle.Unpickler):
    """Knows numpy's arrays and scalars, our dataclasses, enums and exceptions; nothing that acts."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """The class or numpy function of this name, if it is harmless."""
        root = module_name.partition(".")[0]
        if root == "numpy" and global_name in _NUMPY_CALLS:
            return super().find_class(module_name, global_name)
        if root == "sonogloss" and "." not in global_name:
            found = getattr(sys.modules.get(module_name), global_name, None)
            if isinstance(found, type) and (
                dataclasses.is_dataclass(found) or issubclass(found, Enum | SonoglossError)
            ):
                return found
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not data")


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
