"""Breaks of RabbitMQ as the broker, as far as no RabbitMQ is needed to see them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

INTAKE = "tasks/intake.py"
TEST_INTAKE = "tests/unit/engine/test_intake.py"
TRANSPORT = "app/messaging/amqp_transport.py"
TEST_BATCH = "tests/unit/engine/test_publish_batch.py"

MUTANTS = [
    Mutant(
        "what a worker still holds does not count against its new share",
        INTAKE,
        "max(processes - len(self._older & held()), 1)",
        "max(processes, 1)",
        f"{TEST_INTAKE}::test_fewer_processes_take_fewer_counting_what_is_still_held",
    ),
    Mutant(
        "a grown pool takes as many messages as before",
        INTAKE,
        "        if free > 0:\n",
        "        if False:\n",
        f"{TEST_INTAKE}::test_more_processes_take_more_and_what_is_there_stays",
    ),
    Mutant(
        "a worker connected anew takes a message a process while its processes are busy",
        INTAKE,
        "self._older: WeakSet[Any] = WeakSet(held())",
        "self._older: WeakSet[Any] = WeakSet()",
        f"{TEST_INTAKE}::test_a_worker_that_was_connected_anew_takes_no_more_than_it_has_processes",
    ),
    Mutant(
        "a batch is done before RabbitMQ has confirmed it",
        TRANSPORT,
        "        while self._unconfirmed:\n",
        "        while False:\n",
        f"{TEST_BATCH}::test_nothing_is_waited_for_before_the_flush_then_everything_is",
    ),
    Mutant(
        "a message that RabbitMQ refuses counts as sent",
        TRANSPORT,
        "        if refused:\n",
        "        if False:\n",
        f"{TEST_BATCH}::test_a_message_that_is_refused_is_told_once_all_answers_are_there",
    ),
]
