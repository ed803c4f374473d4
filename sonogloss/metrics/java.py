"""Java programs of others that metrics run: those that the package pycocoevalcap carries."""

from __future__ import annotations

import importlib.util
import os
import shutil

from sonogloss.errors import OptionError

INSTALL = "Install Java and `sonogloss[java-metrics]`"


def find_program(jar: str, *, what: str, instead: str) -> tuple[str, str]:
    """Java, and the path of a jar.

    Args:
        jar: its path in the package pycocoevalcap.
        what: what needs it, as a sentence begins.
        instead: what to do without it.

    Raises:
        OptionError: Java or the package is not here.
    """
    java, path = shutil.which("java"), _find_jar(jar)
    if not java or not path:
        lacking = "the program java" if not java else "the package pycocoevalcap"
        raise OptionError(f"{what} needs {lacking}, which is not here.", f"{INSTALL}, or {instead}.")
    return java, path


def reason(stderr: bytes) -> str:
    """Why a program failed, out of what it said: the first error, or else its last line."""
    lines = stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    return next((line for line in lines if "Error" in line or "Exception" in line), lines[-1]).strip()


def _find_jar(jar: str) -> str | None:
    found = importlib.util.find_spec("pycocoevalcap")
    for folder in (found.submodule_search_locations or []) if found else []:
        if os.path.isfile(path := os.path.join(folder, jar)):
            return path
    return None
