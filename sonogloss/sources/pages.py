"""What a folder of a store holds, page by page: the `ls` of its library holds all of it, at kilobytes a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from sonogloss.retries import retry

PAGE = 1000
"""Names that one request asks for."""

_Info = Mapping[str, Any]
_Page = tuple[list[_Info], str | None]
"""What a request brought, and what the next one asks for."""


def list_pages(fs: Any, folder: str, *, what: str) -> Iterator[list[_Info]]:
    """What lies in a folder, as the library describes it, each name once; gs:// and s3:// sort by path.

    Args:
        fs: the file system.
        folder: the path inside it.
        what: is listed, for messages.
    """
    ask = _asking(fs, folder)
    folders = set[str]()  # a store may name one on several pages
    token: str | None = None
    while True:
        found, token = retry(partial(ask, token), what=what)
        yield [each for each in found if each["type"] != "directory" or each["name"] not in folders]
        if token is None:
            return
        folders.update(each["name"] for each in found if each["type"] == "directory")


def _asking(fs: Any, folder: str) -> Callable[[str | None], _Page]:
    """What asks for a page."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    of_store = _of_gs if "gs" in protocols else _of_s3 if "s3" in protocols else None
    if of_store is not None and (bucket := folder.partition("/")[0]):
        key = folder.partition("/")[2].strip("/")
        return partial(of_store, fs, bucket, f"{key}/" if key else "")
    return lambda token: (fs.ls(folder, detail=True), None)


def _of_gs(fs: Any, bucket: str, prefix: str, token: str | None) -> _Page:
    options = {"prefix": prefix, "delimiter": "/", "maxResults": PAGE, **({"pageToken": token} if token else {})}
    fields = "nextPageToken,prefixes,items(name,size,generation)"
    said = fs.call("GET", "b/{}/o", bucket, json_out=True, fields=fields, **options)
    found = [{**item, "name": f"{bucket}/{item['name']}", "type": "file"} for item in said.get("items", ())]
    return [*_folders(bucket, said.get("prefixes", ())), *found], said.get("nextPageToken")


def _of_s3(fs: Any, bucket: str, prefix: str, token: str | None) -> _Page:
    options = {"Prefix": prefix, "Delimiter": "/", "MaxKeys": PAGE, **({"ContinuationToken": token} if token else {})}
    said = fs.call_s3("list_objects_v2", Bucket=bucket, **options, **fs.req_kw)
    found = [
        {**item, "name": f"{bucket}/{item['Key']}", "type": "file", "size": item["Size"]}
        for item in said.get("Contents", ())
    ]
    folders = _folders(bucket, [each["Prefix"] for each in said.get("CommonPrefixes", ())])
    return [*folders, *found], said.get("NextContinuationToken")


def _folders(bucket: str, prefixes: Any) -> list[_Info]:
    return [{"name": f"{bucket}/{prefix}", "type": "directory", "size": 0} for prefix in prefixes]
