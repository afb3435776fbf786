"""The pictures of the documents are what the commands draw."""

from __future__ import annotations

import pytest

from checks.pictures import FOLDER, drawings


@pytest.mark.parametrize("name", drawings())
def test_the_pictures_are_as_kept(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == drawings()[name]
