"""Code such as users write, which ``make lint`` has mypy check too: defaults must be defaults to mypy."""

from __future__ import annotations

from xml_extractor import LoadOptions
from xml_extractor.settings import KeysWhen, Settings


def test_any_option_can_be_given_alone() -> None:
    assert LoadOptions(workers=2).batch_size == 1000
    assert LoadOptions(limit=5, create_tables=True).workers == 4
    assert LoadOptions().model_copy(update={"workers": 3}).workers == 3
    assert Settings(source="sqlite:///a.db").options() == LoadOptions()
    assert LoadOptions(keys=KeysWhen.AFTER).keys_when is KeysWhen.AFTER
    assert dict(LoadOptions())["workers"] == 4
