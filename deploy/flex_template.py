"""`sonogloss caption` as a Flex Template of Dataflow: its parameters are the options, and it submits and leaves.

python deploy/flex_template.py --metadata > deploy/metadata.json
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from sonogloss.pipelines.command_line import main
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.config.fields import settings_of
from sonogloss.pipelines.config.parser import help_text

_REQUIRED = ("audio", "output")
_NOT_THERE = {"workers", "dry_run", "price_per_hour", "format", "wait", "on_interrupt"}
SETTINGS = {setting.name: setting for setting in settings_of(CaptionConfig) if setting.name not in _NOT_THERE}


def metadata() -> dict[str, Any]:
    """What the template says of itself: a parameter an option, underscores for dashes."""
    parameters = [
        {
            "name": name,
            "label": setting.flag,
            "helpText": help_text(setting).replace("%%", "%"),
            "isOptional": name not in _REQUIRED,
        }
        for name, setting in SETTINGS.items()
    ]
    parameters.sort(key=lambda parameter: bool(parameter["isOptional"]))
    return {
        "name": "sonogloss caption",
        "description": "Caption an audio archive, zero-shot, into Parquet.",
        "parameters": parameters,
    }


def words(arguments: Iterable[str]) -> Iterator[str]:
    """The command line of the parameters that the launcher passes as `--name=value`; Beam's own stay as they are."""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        setting = SETTINGS.get(name.removeprefix("--").replace("-", "_"))
        if setting is None or not equals:
            yield argument
        elif setting.kind is bool:
            on = value.lower() in ("true", "1", "yes")
            if on or setting.switch:
                yield setting.flag if on else f"--no-{setting.flag[2:]}"
        else:
            yield setting.flag
            yield from shlex.split(value) if setting.several else [value]


if __name__ == "__main__":
    if sys.argv[1:] == ["--metadata"]:
        sys.stdout.write(json.dumps(metadata(), indent=2) + "\n")
    else:
        sys.exit(main(["caption", *words(sys.argv[1:]), "--no-wait", "--json"]))
