"""Options that several commands have."""

from __future__ import annotations

import re
from typing import Any

from sonogloss.errors import OptionError
from sonogloss.pipelines.config.fields import option

CLAP_NAMES = "pocket, pocket:ordered, a directory, a hub id or laion:CKPT.pt"
OLD_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_device(name: str) -> None:
    """Refuse what is no device's name. Whether this machine has the device is asked when a model loads."""
    if not _DEVICE.fullmatch(name):
        hint = "; did you mean 'cuda'?" if name.startswith("gpu") else "."
        raise OptionError(f"There is no --device {name!r}.", f"Choose one of auto, cpu, cuda, cuda:N{hint}")


def device_option(group: str | None = None) -> Any:
    """`--device`."""
    return option(
        "auto", group=group, help="auto, cpu, cuda or cuda:N", metavar="D", check=check_device, digest="resolved"
    )


def dead_letters_option(what: str, group: str | None = None) -> Any:
    """`--max-dead-letters`, a share of `what`."""
    return option(0.05, group=group, help=f"share of {what} that may fail", metavar="SHARE", at_least=0, at_most=1)


def numbers(text: str) -> tuple[int, ...]:
    """The whole numbers of `2-8` or `2,4,8`.

    Raises:
        OptionError: the text is neither.
    """
    first, dash, last = text.partition("-")
    parts = [first, last] if dash else text.split(",")
    if not all(part.isdecimal() for part in parts) or (dash and int(first) > int(last)):
        raise OptionError(f"must be numbers like 2-8 or 2,4,8, got {text!r}.", "Correct it.")
    return tuple(range(int(first), int(last) + 1)) if dash else tuple(sorted({int(part) for part in parts}))
