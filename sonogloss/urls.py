"""What is a URL, and whose: names that begin with a protocol that fsspec knows, and chains of them.

A local path is only ever a name, whatever letters are in it; fsspec, which reads `::` and brackets, sees URLs alone.
"""

from __future__ import annotations

import re
from typing import Any

import fsspec
from fsspec.config import conf
from fsspec.core import url_to_fs

from sonogloss.errors import OptionError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

# A listing that is held hides what other processes write. gcsfs waits for ever unless told; s3fs has time-outs of its
# own. What the user set for fsspec, by file or environment, comes first.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gs": {"requests_timeout": 120.0, "use_listings_cache": False},
    "s3": {"use_listings_cache": False},
}
for _protocol, _options in _DEFAULTS.items():
    conf[_protocol] = {**_options, **conf.get(_protocol, {})}


def is_url(place: str) -> bool:
    """Is this a URL of a protocol that fsspec knows, or a chain of them, rather than a local path?"""
    first = place.partition("::")[0]
    found = _URL.match(place)
    return (found[1] if found else first if "::" in place else "") in _protocols()


def has_foreign_protocol(place: str) -> bool:
    """Does a name begin like a URL of another protocol than that of local files, be it one that nobody here knows?"""
    found = _URL.match(place)
    return found is not None and found[1] not in ("file", "local")


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path inside it.

    Raises:
        OptionError: nobody here knows the protocol, or its package is not installed.
    """
    try:
        if "::" not in url or is_chain(url):
            fs, inner = url_to_fs(url)
            return fs, str(inner)
        kind = fsspec.get_filesystem_class(url.partition("://")[0])  # an object with :: in its name
        return kind(**kind._get_kwargs_from_urls(url)), str(kind._strip_protocol(url))
    except ImportError as error:
        remedy = "Install it with pip; gs:// comes with pip install 'sonogloss[gcp]', s3:// with 'sonogloss[s3]'."
        raise OptionError(f"{url!r} needs a package that is not installed ({error}).", remedy) from error
    except ValueError as error:
        raise OptionError(f"{url!r} cannot be opened ({error}).", "Give a path, or a URL that fsspec knows.") from error


def is_chain(url: str) -> bool:
    """Does `::` join two URLs here? Elsewhere it is part of a name."""
    first, *others = url.split("::")
    known = _protocols() | {"file", "local"}
    return first in known or any((found := _URL.match(part)) and found[1] in known for part in others)


def child(parent: str, fs: Any, name: str) -> str:
    """The URL of what a file system calls `name`, listed at the URL `parent`."""
    if not is_chain(parent):
        return str(fs.unstrip_protocol(name))
    first, _, rest = parent.partition("::")
    if "://" in first:
        return f"{first.partition('://')[0]}://{name}::{rest}"
    return f"{first}::{child(rest, url_to_fs(rest)[0], name)}"


def _protocols() -> frozenset[str]:
    return frozenset(fsspec.available_protocols()) - {"file", "local"}
