"""Put the page together: template, style, scripts and data in one file, with a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

GENERATOR = '<meta name="generator" content="sonogloss">'
"""Stands near the beginning of every page of ours."""
SCRIPTS = ("charts.js", "detail.js", "summary.js", "page.js")


def page_html(data: Mapping[str, Any], sounds: Mapping[str, str], *, title: str, linked: bool = False) -> str:
    """The page as text.

    Everything in it that came from data is JSON in a block that no browser runs, and the scripts set it as text. The
    policy names the scripts and the style by their digests and forbids every other script, style, image and request.

    Args:
        data: what the page shows; see :mod:`sonogloss.pipelines.report_page`.
        sounds: Ogg files in base64 by `clip_id`.
        title: of the window.
        linked: may the page play recordings that lie beside it?
    """
    style = _part("page.css")
    scripts = [_part(name) for name in SCRIPTS]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src {_allowed(style)} 'unsafe-hashes'",
            f"script-src {' '.join(map(_allowed, scripts))}",
            "media-src data:" + (" 'self' file:" if linked else ""),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    content = {
        "policy": html.escape(policy),
        "title": html.escape(title),
        "style": style,
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
        "sounds": _json(sounds),
        "data": _json(data),
    }
    # In one pass: what is filled in may itself hold the name of a place.
    return re.sub(r"\{(\w+)\}", lambda found: content[found[1]], _part("page.html"))


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _allowed(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _json(value: Any) -> str:
    """JSON that cannot end the block it stands in: `<` only occurs inside strings."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
