"""Where the workers of a job note what they are decoding: a hidden folder in the output, as long as the job is undone.

A run that continues finds there which recordings workers died of (:mod:`sonogloss.audio.decoding_journal`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from apache_beam.options.pipeline_options import PipelineOptions

from sonogloss import files
from sonogloss.pipelines.running.beam_options import is_local

NOTES_FOLDER = ".sonogloss-decoding"


@contextmanager
def decoding_notes(output: str, options: PipelineOptions) -> Iterator[str | None]:
    """The folder; None where workers or the output are on other machines.

    It is removed when the job is done. When the user ends the job, the notes of this run go: they blame nobody.
    """
    if not is_local(options) or "://" in output:
        yield None
        return
    folder = files.join(output, NOTES_FOLDER)
    before = set(files.list_dir(folder))
    try:
        yield folder
    except KeyboardInterrupt:
        for path in set(files.list_dir(folder)) - before:
            with suppress(OSError):
                os.unlink(path)
        with suppress(OSError):
            os.rmdir(folder)
        raise
    shutil.rmtree(folder, ignore_errors=True)
