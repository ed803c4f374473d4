"""convert-clap: a published CLAP checkpoint to a directory of safetensors."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from sonogloss import __version__, files
from sonogloss.clap.convert import Conversion, convert_checkpoint
from sonogloss.errors import OutputError
from sonogloss.pipelines.config.datastores import ConvertClapConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.terminal import plain_console

CONFIG = "config.json"  # written last: without it a directory holds no model


@command(ConvertClapConfig)
def convert_clap(config: ConvertClapConfig) -> dict[str, Any]:
    """Convert a checkpoint, reading its tensors and nothing else.

    Returns:
        The report: `output`, `checkpoint` {path, sha256}, `model` {layout, audio_tower, text_tower, fused, dim,
        parameters}, `fingerprint`, `left_out` (tensors without a use, by module), `problems`.

    Raises:
        InputError: an option or the checkpoint makes the job impossible.
    """
    checkpoint, output = str(config.checkpoint), str(config.output)
    tokenizer = None if config.tokenizer is None else str(config.tokenizer)
    if files.exists(files.join(output, CONFIG)) and not config.overwrite:
        raise OutputError(
            f"--output {output!r} holds a model already.", "Name another directory, or replace it with --overwrite."
        )
    with tempfile.TemporaryDirectory(prefix="convert-clap-") as temporary:
        staging = Path(temporary)
        done = convert_checkpoint(checkpoint, staging, tokenizer=tokenizer, layout=config.layout)
        digest = files.digest(checkpoint)
        (staging / "README.md").write_text(_model_card(files.base_name(checkpoint), digest, done), encoding="utf-8")
        files.check_writable(output)
        if files.exists(files.join(output, CONFIG)):
            files.remove(files.join(output, CONFIG))
        for path in sorted(staging.iterdir(), key=lambda path: path.name == CONFIG):
            with path.open("rb") as source, files.atomic_write(files.join(output, path.name)) as target:
                shutil.copyfileobj(source, target)
    return {
        "output": output,
        "checkpoint": {"path": checkpoint, "sha256": digest},
        "model": {
            "layout": done.layout,
            "audio_tower": done.audio_tower,
            "text_tower": done.text_tower,
            "fused": done.fused,
            "dim": done.dim,
            "parameters": done.parameters,
        },
        "fingerprint": done.fingerprint,
        "left_out": done.left_out,
        "problems": [],
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    model, console = report["model"], plain_console()
    towers = f"{model['audio_tower']}{', fused' if model['fused'] else ''} and {model['text_tower']}"
    console.print(f"{report['output']}: {towers}, {model['dim']} dimensions, {model['parameters']:,} parameters")
    console.print(f"fingerprint {report['fingerprint']}")
    if report["left_out"]:
        left_out = ", ".join(f"{module} ({count})" for module, count in sorted(report["left_out"].items()))
        console.print(f"left out, as embeddings do not need them: {left_out}")


_NOTES = {
    "laion": """In the layout of transformers' `ClapModel`. Sounds are ten seconds at 48 kHz. `"quantise": "int16"` in
`preprocessor_config.json` is sonogloss's own key: laion_clap cuts samples to 16 bits before anything else, and so does
sonogloss with this model. transformers leaves that key alone, so its embeddings of sounds differ a little.
""",
    "wavcaps": "In sonogloss's own layout. Sounds are ten seconds at 32 kHz, shorter ones are filled up with zeros.\n",
    "msclap": "In sonogloss's own layout. Sounds are at 44.1 kHz, shorter ones are repeated.\n",
}


def _model_card(name: str, digest: str, done: Conversion) -> str:
    library = "transformers" if done.layout == "laion" else "sonogloss"
    return f"""---
library_name: {library}
tags: [audio, clap]
---

# CLAP, converted from `{name}`

The weights of a checkpoint, converted by sonogloss {__version__}. They keep its licence and its limits; nothing was
trained.

* checkpoint: `{name}`, sha256 `{digest}`
* audio tower: {done.audio_tower}{" with feature fusion" if done.fused else ""}; text tower: {done.text_tower}
* {done.dim} dimensions, {done.parameters:,} parameters, fingerprint `{done.fingerprint}`

{_NOTES[done.layout]}"""
