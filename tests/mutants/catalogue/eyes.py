"""Mutants of traces, log levels, metrics, breakers."""

from tests.mutants.mutant import Mutant

METRICS = "tests/integration/observability/test_metrics.py"
LEVELS = "tests/unit/observability/test_levels.py"
BREAKERS = "tests/unit/observability/test_breakers.py"
LANES = "tests/integration/engine/test_beat_lanes.py"

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
        "self._clock() - self._read_at >= self._fresh_s",
        "self._clock() >= self._read_at",
        f"{METRICS}::test_a_step_nobody_takes_shows_its_queue_its_age_its_demand",
    ),
    Mutant(
        "what an operator holds is demand",
        "app/db/gauges.py",
        "h.name IN ('*', 'tenant/' || t.tenant_id)",
        "h.name IN ('*')",
        f"{METRICS}::test_what_an_operator_holds_is_no_demand",
    ),
    Mutant(
        "every tenant has metrics of its own",
        "app/db/gauges.py",
        "CASE WHEN place <= %(most)s THEN slug",
        "CASE WHEN place <= 1000000 + %(most)s THEN slug",
        f"{METRICS}::test_those_tenants_that_use_most_are_named_the_others_summed",
    ),
    Mutant(
        "dead processes are counted among the living",
        "app/observability/metrics.py",
        "        except ProcessLookupError:\n            file.unlink(missing_ok=True)\n",
        "        except ProcessLookupError:\n            continue\n",
        f"{METRICS}::test_what_a_dead_process_said_of_itself_is_forgotten_what_it_counted_stays",
    ),
    Mutant(
        "a pool that is used up is a fault of ours",
        "app/db/engine.py",
        "    except PoolExhausted as error:\n",
        "    except ZeroDivisionError as error:\n",
        f"{METRICS}::test_a_pool_tells_who_has_its_connections_and_that_none_is_left",
    ),
    Mutant(
        "a level lasts while the database is away",
        "app/services/follow_levels.py",
        "one.left_s > age_s",
        "one.left_s > 0",
        f"{LEVELS}::test_a_level_ends_on_time_while_the_database_is_away_and_another_stays",
    ),
    Mutant(
        "a level that is no longer set stays",
        "app/observability/levels.py",
        "    for name in _started.keys() - levels.keys():\n",
        "    for name in set[str]():\n",
        f"{LEVELS}::test_what_is_no_longer_set_is_as_the_process_was_started",
    ),
    Mutant(
        "a half-written level is obeyed",
        "app/services/shared_levels.py",
        "        if zlib.crc32(told) != check:\n",
        "        if not told:\n",
        f"{LEVELS}::test_what_is_half_written_is_not_obeyed",
    ),
    Mutant(
        "libraries may be made to log values",
        "app/services/manage_log_levels.py",
        'module.partition(".")[0] in TELLTALES and level in QUIET',
        "module in TELLTALES and level in QUIET",
        "tests/integration/api/test_log_levels.py::test_what_cannot_be_is_refused_with_its_place",
    ),
    Mutant(
        "many ask whether it is back",
        "app/observability/breakers.py",
        "            if self._clock() < self._retry_at:\n                return False\n",
        "            if self._clock() < self._retry_at and self._breaker.state == 'open':\n"
        "                return False\n",
        f"{BREAKERS}::test_while_it_is_open_one_asks_after_each_hold",
    ),
    Mutant(
        "what the store says of a content opens its breaker",
        "app/artifacts/guarded.py",
        "            self.guard.succeeded()  # it answered\n",
        "            self.guard.failed()\n",
        f"{BREAKERS}::test_an_answer_of_the_store_is_no_failure_and_a_broken_read_is_one",
    ),
    Mutant(
        "waiting for the store costs an attempt",
        "migrations/sql/0001_functions.sql",
        "free boolean := killed OR p_error #>> '{detail,deferred}' = 'true';",
        "free boolean := killed;",
        "tests/integration/artifacts/test_steps.py"
        "::test_a_step_that_cannot_begin_while_the_store_is_away_waits_without_an_attempt",
    ),
    Mutant(
        "a tenant's host is left alone for all",
        "tasks/operations/http.py",
        "HOSTS.of((context.tenant_id, target.host, target.port))",
        "HOSTS.of((target.host, target.port))",
        "tests/unit/operations/test_http.py::test_a_host_that_gives_no_answers_is_left_alone_for_its_tenant",
    ),
    Mutant(
        "no lane grows old",
        "app/db/gauges.py",
        "clock_timestamp() - max(last_at))::float\n  FROM beat_jobs",
        "clock_timestamp() - greatest(max(last_at), clock_timestamp()))::float\n  FROM beat_jobs",
        f"{LANES}::test_a_lane_that_hangs_grows_old_in_the_rows_and_tells_where_it_is",
    ),
    Mutant(
        "a lane that hangs is told at every tick",
        "tasks/beat_lane.py",
        "        self._told = busy\n",
        "",
        f"{LANES}::test_a_lane_that_hangs_grows_old_in_the_rows_and_tells_where_it_is",
    ),
    Mutant(
        "threads without jobs say nothing",
        "app/services/schedule.py",
        "            beat.claim_due(self._system, self._lane, {self._lane: MARK_EVERY_S})\n",
        "",
        f"{LANES}::test_threads_without_jobs_tell_that_they_go_on_too",
    ),
]
