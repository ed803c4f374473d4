"""Which device a model runs on: asked where it is loaded, for a job may be launched from another kind of machine."""

from __future__ import annotations

from sonogloss.errors import OptionError


def choose_device(name: str) -> str:
    """`auto` is a CUDA device when torch sees one, else the processor; any other name is itself.

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


def device_or_cpu(name: str) -> str:
    """The device of this name, or the processor where there is none: for work that gives the same on both."""
    try:
        return choose_device(name)
    except OptionError:
        return "cpu"
