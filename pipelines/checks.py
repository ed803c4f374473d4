"""Checks that several jobs make before they start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sonogloss import files
from sonogloss.errors import MissingInputError, OptionError

# What a folder of recordings may hold; anything else in it (notes, pictures) is left out and counted. Sound that nobody
# here decodes is listed all the same: it becomes a dead letter that says so.
AUDIO_ENDINGS = (
    ".aac",
    ".aif",
    ".aifc",
    ".aiff",
    ".amr",
    ".au",
    ".caf",
    ".flac",
    ".m4a",
    ".mp3",
    ".oga",
    ".ogg",
    ".opus",
    ".rf64",
    ".snd",
    ".w64",
    ".wav",
    ".wave",
    ".wma",
)


def as_list(value: str | Sequence[str]) -> list[str]:
    """One or several: a Python caller may hand over a plain string."""
    return [value] if isinstance(value, str) else list(value)


def list_audio(patterns: Iterable[str]) -> tuple[list[str], int]:
    """The recordings that patterns name, sorted, each once, and how many other files in folders were left out.

    A file or what a glob matches is taken whatever its name; of a folder, what is named like audio.

    Raises:
        MissingInputError: nothing is there.
    """
    found: set[str] = set()
    left_out = 0
    for pattern in patterns:
        listed = files.expand([pattern], option="--audio")
        if files.is_dir(pattern):
            audio = [path for path in listed if path.lower().endswith(AUDIO_ENDINGS)]
            if not audio:
                raise MissingInputError(
                    f"--audio {pattern!r} holds {len(listed)} files, but none is named like audio.",
                    "Name the files with a glob if they are audio all the same.",
                )
            left_out += len(listed) - len(audio)
            listed = audio
        found.update(listed)
    return sorted(found), left_out


def check_share(value: float, option: str) -> None:
    """A share lies in [0, 1].

    Raises:
        OptionError: it does not.
    """
    if not 0.0 <= value <= 1.0:
        raise OptionError(f"{option} {value} is not a share.", "Give a number from 0 to 1; 0.05 is one in twenty.")


def too_many(failed: int, total: int, *, share: float, what: str, where: str) -> list[str]:
    """A sentence when more than a share of all inputs failed, else nothing."""
    if failed <= share * total:
        return []
    sentence = (
        f"{failed:,} of {total:,} {what} failed, more than the share of {share:g} that --max-dead-letters allows; "
        f"{files.join(where, 'dead_letters')} says which and why."
    )
    return [sentence]


def choose_device(name: str) -> str:
    """`auto` is a CUDA device when torch sees one, else the processor.

    Raises:
        OptionError: a CUDA device is asked for and there is none.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise OptionError(
            f"--device {name!r}: torch sees no CUDA device here.", "Leave --device out, or install a CUDA torch."
        )
    return name
