"""Back to a moment on the oldest server that is supported, with the programs that its package brought."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from app.runtime.failure import RuntimeFailure
from app.runtime.point_in_time import recovered
from app.runtime.stages import Stages
from tests.services.__main__ import POSTGRES_15
from tests.support.moments import RING, Drill
from tests.support.servers import private_servers

pytestmark = pytest.mark.services


def test_a_server_older_than_our_programs_comes_back_as_it_stood_at_a_moment(tmp_path: Path) -> None:
    with private_servers(programs=POSTGRES_15) as servers:
        drill = Drill(servers, tmp_path, Stages())
        base, moment, rows = drill.play(runs=3000)
        assert base.server_version // 10_000 == 15
        assert rows > 20_000
        given = (drill.programs, drill.urls.admin, drill.store, base, RING)
        late = recovered(*given, moment + timedelta(days=1), drill.spool)
        with pytest.raises(RuntimeFailure, match="does not reach"), late:
            pass
