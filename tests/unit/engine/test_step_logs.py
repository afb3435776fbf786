"""The log of an attempt: bounded, masked, captured from its own thread, written in order."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Collection
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import Unavailable
from app.domain.step_logs import LONGEST_LINE, MOST_LINES, TAIL_LINES, BoundedLog
from app.observability.capture import captured
from app.observability.context import step_context
from app.observability.logging import configure_logging, get_log
from app.services.courier import Courier
from app.services.step_logs import AttemptLog, LogBuffer

Lines = list[dict[str, Any]]
SECRET = "canary-7f3e9a11"


class ByHand(Courier):
    """A courier that goes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[Any] = []

    def post(self, errand: Any) -> None:
        self.posted.append(errand)

    def go(self) -> None:
        errands, self.posted = self.posted, []
        for errand in errands:
            errand()


class Written:
    """Where the lines go; it refuses as often as it is told."""

    def __init__(self, refusals: int = 0) -> None:
        self.batches: list[tuple[int, Lines]] = []
        self.refusals = refusals

    def __call__(self, last: int, lines: Lines) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("database")
        self.batches.append((last, lines))

    @property
    def texts(self) -> list[str]:
        return [line["text"] for _, lines in self.batches for line in lines]


def buffer(
    written: Written, courier: Courier | None = None, secrets: Collection[str] = ()
) -> tuple[LogBuffer, ByHand]:
    by_hand = ByHand()
    return LogBuffer(courier or by_hand, written, secrets), by_hand


def test_an_attempt_without_lines_writes_nothing() -> None:
    log, courier = buffer(written := Written())
    log.close()
    assert (courier.posted, written.batches) == ([], [])


def test_lines_of_a_round_are_one_batch_the_rest_comes_at_the_end() -> None:
    log, courier = buffer(written := Written())
    for n in range(3):
        log.add("info", f"line {n}")
    assert len(courier.posted) == 1
    courier.go()
    log.add("warning", "the end")
    log.close()
    assert [last for last, _ in written.batches] == [3, 4], "before the courier goes again"
    courier.go()
    assert written.texts == ["line 0", "line 1", "line 2", "the end"]


def test_what_cannot_be_written_is_repeated_as_it_was() -> None:
    log, courier = buffer(written := Written(refusals=2))
    log.add("info", "one")
    courier.go()
    log.add("info", "two")
    log.close()
    assert written.batches == []
    courier.go()
    courier.go()
    assert [(last, [line["text"] for line in lines]) for last, lines in written.batches] == [
        (1, ["one"]),
        (2, ["two"]),
    ]


def test_the_first_lines_stay_then_a_mark_then_the_last() -> None:
    log = BoundedLog()
    count = MOST_LINES + 500
    for n in range(1, count + 1):
        log.add("T", "info", f"line {n}")
    kept = log.take()
    assert [line.n for line in kept] == list(range(1, MOST_LINES + 2))
    assert [line.n for line in kept if line.truncated] == [MOST_LINES + 1]
    assert log.take() == []
    log.end()
    assert [line.n for line in log.take()] == list(range(count - TAIL_LINES + 1, count + 1))


def test_many_characters_fill_a_log_as_well() -> None:
    log = BoundedLog()
    for _ in range(2_000):
        log.add("T", "info", "x" * 1000)
    log.end()
    kept = log.take()
    assert sum(line.size for line in kept) < 400 * 1024
    assert sum(line.truncated for line in kept) == 1


def test_secrets_are_masked_before_a_line_is_cut() -> None:
    log, _ = buffer(written := Written(), secrets=[SECRET])
    log.add("info", "x" * (LONGEST_LINE - 8) + SECRET + " and more " * 10)
    log.add("info", SECRET, fields={"deep": [{"er": f"a {SECRET} b"}], "password": "p", SECRET: 1})
    log.add("info", f"Authorization: Bearer {'t' * 40}", fields={"none": b"\0"})
    log.close()
    ((_, lines),) = written.batches
    assert "canary" not in str(lines)
    assert len(lines[0]["text"]) == LONGEST_LINE
    assert lines[1]["text"] == "***"
    assert lines[1]["fields"] == {"deep": [{"er": "a *** b"}], "password": "***", "***": 1}
    assert lines[2]["text"] == "Authorization: Bearer ***"


def test_long_fields_are_cut() -> None:
    log, _ = buffer(written := Written())
    log.add("info", "big", fields={"list": list(range(10_000))})
    log.close()
    ((_, (line,)),) = written.batches
    assert len(line["fields"]["cut"]) == LONGEST_LINE


@pytest.fixture
def logging_as_in_a_worker() -> Any:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("INFO", "json", process="test", stream=stream)
    yield stream
    root.handlers, root.level = before, level


def test_lines_of_the_operations_thread_are_captured(logging_as_in_a_worker: io.StringIO) -> None:
    log, _ = buffer(written := Written())
    context_log = AttemptLog(get_log("operation"), log)
    library, elsewhere = logging.getLogger("thirdparty"), logging.getLogger("app.db.engine")
    with captured(log.record), step_context(UUID(int=1), UUID(int=2), "a"):
        context_log.info("begun", n=1)
        library.warning("%s is slow", "it")
        get_log("structured.third").error("odd", size=3)
        library.debug("below the level of the process")
        elsewhere.warning("of the platform")
        thread = threading.Thread(target=lambda: library.warning("of another thread"))
        thread.start()
        thread.join()
        try:
            int("broken")
        except ValueError:
            library.exception("it raised")
    library.warning("after the end")
    log.close()
    ((_, lines),) = written.batches
    assert [(line["level"], line["text"].partition("\n")[0]) for line in lines] == [
        ("info", "begun"),
        ("warning", "it is slow"),
        ("error", "odd"),
        ("error", "it raised"),
    ]
    assert lines[0]["fields"] == {"n": 1}
    assert lines[2] == {**lines[2], "logger": "structured.third", "fields": {"size": 3}}
    assert "ValueError: invalid literal" in lines[3]["text"]
    assert logging_as_in_a_worker.getvalue().count("begun") == 1


def test_context_log_is_kept_whatever_the_level_of_the_process() -> None:
    log, _ = buffer(written := Written())
    configure_logging("ERROR", "json", process="test", stream=(stream := io.StringIO()))
    with captured(log.record):
        AttemptLog(get_log("operation"), log).info("kept")
    log.close()
    assert (written.texts, stream.getvalue()) == (["kept"], "")
