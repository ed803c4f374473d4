"""Frames: records come through, whatever Python pickled them, and nothing that acts does."""

import os
import pickle

import pytest

from sonogloss.audio.decoder_frames import unpack
from sonogloss.errors import ClipError, Code


class _Called:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def test_records_come_through():
    error = unpack(pickle.dumps(ClipError(Code.CORRUPT, "It breaks.", 7), protocol=5), [])
    assert (error.code, error.message) == (Code.CORRUPT, "It breaks.")


def test_members_of_enums_come_as_every_python_pickles_them():
    assert unpack(pickle.dumps(_Called(getattr, Code, "CORRUPT")), []) is Code.CORRUPT


@pytest.mark.parametrize(
    "call",
    [_Called(os.system, "true"), _Called(getattr, Code.CORRUPT, "name"), _Called(getattr, ClipError, "mro")],
    ids=["system", "attribute", "method"],
)
def test_nothing_that_acts_comes_through(call):
    with pytest.raises(pickle.UnpicklingError, match="is not data"):
        unpack(pickle.dumps(call), [])
