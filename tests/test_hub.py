from __future__ import annotations

import pytest

from sonogloss.hub import hub_hint, hub_id


@pytest.mark.parametrize(
    ("name", "prefixed", "bare"),
    [
        ("hf:owner/name", "owner/name", "owner/name"),
        ("hf:gpt2", "gpt2", "gpt2"),
        ("gpt2", None, "gpt2"),
        ("owner/name", None, None),
        ("./gpt2", None, None),
        (".", None, None),
        ("", None, None),
        ("hf:", None, None),
        ("hf:/etc", None, None),
        ("hf:../models", None, None),
        ("hf:a/b/c", None, None),
        ("laion:a.pt", None, None),
    ],
)
def test_only_names_that_can_be_no_path_mean_the_hub(name: str, prefixed: str | None, bare: str | None) -> None:
    assert (hub_id(name), hub_id(name, bare=True)) == (prefixed, bare)


def test_the_hint_repeats_a_name_that_could_be_there() -> None:
    assert hub_hint("laion/clap") == "for the model hub write hf:laion/clap"
    assert hub_hint("../clap") == "for the model hub write hf:owner/name"
