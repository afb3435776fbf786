"""Mutants of traces."""

from tests.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "a later version of traceparent is refused",
        "app/domain/tracing.py",
        'if version == "ff" or (version == "00" and more)',
        'if version != "00" or more',
        "tests/unit/domain/test_tracing.py::test_a_later_version_is_read_as_far_as_it_is_known",
    ),
    Mutant(
        "every trace is recorded",
        "app/domain/tracing.py",
        "< ratio * (1 << _RANDOM_BITS)",
        ">= 0",
        "tests/unit/domain/test_tracing.py::test_the_ratio_is_met_by_random_ids",
    ),
    Mutant(
        "an unsampled trace builds spans",
        "app/observability/tracing.py",
        "    if here is None or not here.sampled or _PROCESS.make is None:\n",
        "    if here is None or _PROCESS.make is None:\n",
        "tests/unit/observability/test_tracing.py::test_an_unsampled_trace_builds_no_span_and_no_exporter",
    ),
    Mutant(
        "gauges are read at every scrape",
        "app/services/platform_gauges.py",
        "self._clock() - self._read_at >= FRESH_S",
        "self._clock() >= self._read_at",
        "tests/integration/observability/test_metrics.py"
        "::test_a_step_nobody_takes_shows_its_queue_and_its_age",
    ),
]
