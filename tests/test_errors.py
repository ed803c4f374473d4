from __future__ import annotations

import pickle

import pytest

from sonogloss.errors import ClipError, Code, InputError, OptionError, SonoglossError, unknown


def test_errors_say_what_and_what_to_do() -> None:
    error = OptionError("--window 0 is too short.", "Give 0.01 or more.")
    assert str(error) == "--window 0 is too short. Give 0.01 or more."
    assert isinstance(error, InputError)
    assert isinstance(error, SonoglossError)
    clip = ClipError(Code.EMPTY, "The file has no bytes.", byte_offset=0)
    assert str(clip) == "EMPTY: The file has no bytes."
    with pytest.raises(SonoglossError):
        raise clip


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("flaat", "Choose one of auto, flat, IVF; did you mean 'flat'?"),
        ("ivf", "Choose one of auto, flat, IVF; did you mean 'IVF'?"),
        ("Auto", "Choose one of auto, flat, IVF; did you mean 'auto'?"),
        ("banana", "Choose one of auto, flat, IVF."),
        ("", "Choose one of auto, flat, IVF."),
    ],
)
def test_an_unknown_name_is_answered_with_the_choices_and_the_nearest_one(name: str, hint: str) -> None:
    error = unknown("index", name, ["auto", "flat", "IVF"])
    assert isinstance(error, OptionError)
    assert error.what == f"There is no index {name!r}."
    assert error.remedy == hint


@pytest.mark.parametrize("error", [OptionError("What.", "Remedy."), ClipError(Code.CORRUPT, "Broken.", 12)])
def test_errors_travel_between_processes(error: SonoglossError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
