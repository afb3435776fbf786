"""The demo's claim machinery: a demo that claims too little or something false must not succeed."""

from __future__ import annotations

import base64
import io
import json

import pytest
from rich.console import Console

from app.runtime.demo.broker import BrokerWatch
from app.runtime.demo.claims import Report
from app.runtime.demo.counting import count_files


def report() -> Report:
    seconds = iter(range(100))
    return Report(Console(file=io.StringIO(), width=200), clock=lambda: float(next(seconds)))


def printed(told: Report) -> str:
    assert isinstance(told.console.file, io.StringIO)
    return told.console.file.getvalue()


def test_true_claims_succeed_with_the_time_of_each_chapter() -> None:
    told = report()
    with told.chapter("One"):
        assert told.claim("water is wet", True)
    told.close()
    assert told.exit_code == 0
    assert told.seconds == {"One": 1.0}
    assert "1 of 1 claims held" in printed(told)


def test_one_false_claim_fails_the_demo_by_name() -> None:
    told = report()
    with told.chapter("One"):
        told.claim("water is wet", True)
        told.claim("water is [dry]", [])
    told.close()
    assert told.exit_code == 1
    assert "Not so: water is [dry] (One)" in printed(told)


def test_a_chapter_that_breaks_off_fails_the_demo() -> None:
    told = report()
    with pytest.raises(RuntimeError), told.chapter("One"):
        told.claim("water is wet", True)
        raise RuntimeError
    assert told.exit_code == 1


def test_a_demo_without_a_claim_fails() -> None:
    assert report().exit_code == 1


def test_the_independent_count_leaves_out_links_with_excluded_folders(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "a" / "one.py").write_bytes(b"x\ny\nz")
    (tmp_path / "two").write_bytes(b"1234567\n")
    (tmp_path / "__pycache__" / "three").write_bytes(b"\n")
    (tmp_path / "link").symlink_to(tmp_path / "two")
    counted = count_files(tmp_path, {"__pycache__"})
    assert (counted.files, counted.bytes, counted.lines) == (2, 13, 3)
    assert counted.largest == (("two", 8), ("a/one.py", 5))


def message(task_id: str, **embedded: object) -> dict[str, object]:
    body = base64.b64encode(json.dumps([["t", "r", "k", 1], {}, embedded]).encode()).decode()
    return {"headers": {"task": "quantum.step", "id": task_id}, "body": body}


def test_the_broker_watch_tells_chains_from_chords() -> None:
    watch = BrokerWatch("redis://127.0.0.1:9/0", ["default"])
    watch._note(message("a", chain=[{"task": "quantum.step"}], chord=None))
    watch._note(message("b", chain=None, chord={"task": "quantum.step"}))
    watch._note({"headers": {"task": "celery.backend_cleanup"}, "body": ""})
    assert (watch.flight.chains, watch.flight.chords) == (frozenset("a"), frozenset("b"))
