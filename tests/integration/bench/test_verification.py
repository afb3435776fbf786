"""The benchmark prints no figure for work that the rows do not confirm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest

from bench.figures import Measure
from bench.ours import CHAIN, NotVerified, Platform
from bench.works import measured
from tests.support.servers import DatabaseUrls


class Nobody:
    """A client of a tenant without a run."""

    base_url = "http://127.0.0.1:9"

    def get(self, _path: str) -> dict[str, Any]:
        return {"tenant_id": str(uuid4())}


def test_a_run_without_rows_is_not_verified(database_urls: DatabaseUrls) -> None:
    with closing(Platform(Nobody(), "token", database_urls.app)) as ours:  # type: ignore[arg-type]  # stands in
        with pytest.raises(NotVerified, match=r"'run\.started': 1"):
            ours._verify(CHAIN, [str(uuid4())])
        with pytest.raises(NotVerified, match="1 submissions, 0 runs"):
            ours.settle(1)


def test_what_is_not_verified_has_no_figure() -> None:
    def work() -> Iterator[Measure]:
        yield Measure("W1", "ours", 1000.0, "runs/s", "higher", 0.0)
        raise NotVerified("rows missing")

    refused: list[str] = []
    assert measured(work, refused) == []
    assert refused == ["rows missing"]
