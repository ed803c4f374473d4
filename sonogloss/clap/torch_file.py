"""Read the tensors of a file that torch.save wrote, without unpickling.

Such a file is a zip archive: `data.pkl` is a pickle of everything that was saved, tensors as references, and `data/N`
holds the raw numbers of storage N. The pickle is read by :mod:`sonogloss.clap.pickle_data`.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sonogloss import files
from sonogloss.clap.pickle_data import StoredTensor, read_pickle
from sonogloss.errors import MissingInputError, ModelFormatError

_LARGEST_PICKLE = 1 << 28  # bytes; that of a checkpoint with its optimizer takes about one megabyte
# What zipfile raises for malformed archives; some of it comes from decoding names and sizes.
_DAMAGED = (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, OverflowError, struct.error)
_REMEDY = "Get the file again, or save it again with a current torch."


class TorchFile:
    """An open file of torch.save.

    Attributes:
        content: what was saved, as dictionaries, lists, tuples and plain values, with a :class:`StoredTensor` for each
            tensor and an :class:`Unknown` for each other object.
    """

    def __init__(self, archive: zipfile.ZipFile, path: str) -> None:
        self._archive = archive
        self._path = path
        names = archive.namelist()
        self._root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if self._root is None:
            raise self._error("the archive has no data.pkl")
        if self._root + "byteorder" in names and self._member("byteorder", limit=16) != b"little":
            raise self._error("its numbers are big-endian")
        pickled = self._member("data.pkl", limit=_LARGEST_PICKLE)
        try:
            self.content = read_pickle(pickled)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise self._error(f"its data.pkl cannot be read: {error}") from error

    def read(self, tensor: StoredTensor) -> torch.Tensor:
        """The numbers of a tensor, contiguous, in the precision they were saved in.

        Raises:
            ModelFormatError: they are missing, or not as many as the tensor needs.
        """
        storage = tensor.storage
        size = storage.size * storage.dtype.itemsize
        content = self._member(f"data/{storage.key}", limit=size)
        if len(content) != size:
            raise self._error(f"storage {storage.key!r} is not {storage.size} numbers of {storage.dtype}")
        if math.prod(tensor.shape) > storage.size:
            raise self._error(f"storage {storage.key!r} holds less than its tensor")
        try:
            if storage.size == 0:
                return torch.empty(tensor.shape, dtype=storage.dtype)
            numbers = torch.frombuffer(bytearray(content), dtype=storage.dtype)
            return numbers.as_strided(tensor.shape, tensor.stride, tensor.offset).contiguous()
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise self._error(f"a tensor does not fit storage {storage.key!r} ({error})") from error

    def _member(self, name: str, *, limit: int) -> bytes:
        """The bytes of a member of the archive, at most `limit`."""
        try:
            info = self._archive.getinfo(f"{self._root}{name}")
            # torch never compresses, so a small file cannot expand to a large one.
            if info.compress_type != zipfile.ZIP_STORED:
                raise self._error(f"{name} is compressed")
            if info.file_size > limit:
                raise self._error(f"{name} has {info.file_size} bytes, more than the {limit} that it can have")
            return self._archive.read(info)
        except KeyError as error:
            raise self._error(f"{name} is missing") from error
        except _DAMAGED as error:
            raise self._error(f"{name} is damaged ({error})") from error

    def _error(self, why: str) -> ModelFormatError:
        return ModelFormatError(f"{self._path!r} is not a file of tensors: {why}.", _REMEDY)


@contextmanager
def open_torch_file(path: str) -> Iterator[TorchFile]:
    """Open a file of torch.save (torch 1.6 or later), local or any fsspec URL.

    Raises:
        MissingInputError: there is no such file.
        ModelFormatError: it is another kind of file.
    """
    if files.is_dir(path) or not files.exists(path):
        raise MissingInputError(f"The checkpoint {path!r} is not a file.", "Check the path.")
    with files.open_read(path) as handle:
        try:
            archive = zipfile.ZipFile(handle)
        except _DAMAGED as error:
            raise ModelFormatError(
                f"{path!r} is not a checkpoint of torch 1.6 or later ({error}).",
                "Get the file again; one of an older torch must be saved again with a newer.",
            ) from error
        with archive:
            yield TorchFile(archive, path)
