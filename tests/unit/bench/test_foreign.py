"""A peer is asked by lines of JSON; one that is not installed, or dies, is left out with a word."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import foreign

DRIVER = """
import json, sys
print(json.dumps({"seconds": [0.0]}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"error": "broken"} if asked["do"] == "submissions" else {"seconds": [asked["runs"] / 2] * 2}
    print(json.dumps(answer), flush=True)
"""


def test_a_peer_is_measured_and_a_missing_one_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy_peer.py").write_text(DRIVER)
    (tmp_path / "dead_peer.py").write_text("")
    there = {"toy": Path(sys.executable), "dead": Path(sys.executable), "gone": tmp_path / "nobody"}
    monkeypatch.setattr(foreign, "HERE", tmp_path)
    monkeypatch.setattr(foreign, "PEERS", tuple(there))
    monkeypatch.setattr(foreign, "interpreter", there.__getitem__)
    with foreign.foreign("", "", tmp_path / "bench.log") as (toy,):
        assert (toy.name, toy.chains(8), toy.latencies(4)) == ("toy", 4.0, [2.0, 2.0])
        with pytest.raises(RuntimeError, match="broken"):
            toy.submissions(1)
    said = capsys.readouterr().out
    assert "gone is left out" in said
    assert "dead is left out" in said


def test_every_peer_has_a_driver_and_a_lock_with_hashes() -> None:
    for name in foreign.PEERS:
        assert (foreign.HERE / f"{name}_peer.py").exists()
        lock = (foreign.HERE / f"{name}.lock").read_text()
        assert f"{name}" in lock
        assert "--hash=sha256:" in lock
