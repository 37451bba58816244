"""What OpenTelemetry sees of a run: the tree of spans, the metrics, and no payload."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, MemoryRepository, TaskError, TaskRegistry
from statechain.observers import (
    ExecutionPoisoned,
    ExecutionsClaimed,
    LeaseRenewed,
    QueueCounted,
    SuspectsCounted,
    SuspectTakenUp,
)
from statechain.reports import Backlog
from statechain.telemetry import OpenTelemetryObserver, backlog_metrics
from statechain.testing import VirtualClock
from statechain.testing.contract.samples import execution

SECRET = "a-payload-that-nobody-traces"
EACH = {
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "End": True,
            "ItemProcessor": {
                "StartAt": "Call",
                "States": {
                    "Call": {
                        "Type": "Task",
                        "Resource": "call",
                        "Retry": [{"ErrorEquals": ["Busy"], "MaxAttempts": 2}],
                        "End": True,
                    }
                },
            },
        }
    },
}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "call", "End": True}}}


class Collector:
    """Providers that keep what they are given."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.observer = OpenTelemetryObserver(self.tracers, self.meters)

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def tree(self) -> dict[str, list[str]]:
        """Return the names of the spans below each span's name, in the order in which they ended."""
        names = {span.context.span_id: span.name for span in self.spans() if span.context}
        below: dict[str, list[str]] = {}
        for span in self.spans():
            below.setdefault(names.get(span.parent.span_id, "?") if span.parent else "", []).append(span.name)
        return below

    def metric(self, name: str) -> list[Any]:
        """Return the points of a metric."""
        found = self.reader.get_metrics_data()
        return [
            point
            for resource in (found.resource_metrics if found else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.tracers.shutdown()
    collector.meters.shutdown()


async def test_spans_hang_below_each_other_and_handlers_below_their_attempt(collector: Collector) -> None:
    tasks, busy = TaskRegistry(), {2}
    tracer = collector.tracers.get_tracer("shop")

    @tasks.register
    async def call(value: int) -> int:
        with tracer.start_as_current_span(f"query {value}"):
            if value in busy:
                busy.discard(value)
                raise TaskError("Busy")
        return value

    async with Engine(tasks=tasks, clock=VirtualClock(), observers=[collector.observer]) as engine:
        machine = await engine.create_state_machine("each", EACH)
        with tracer.start_as_current_span("request"):
            handle = await machine.start_execution([1, 2])
        await handle.result()
    below = collector.tree()
    assert below[""] == ["request"]
    assert below["request"] == ["execution each"]
    assert below["execution each"] == ["Each"]
    assert below["Each"] == ["Call", "Call"]
    assert sorted(below["Call"]) == ["Call attempt 1", "Call attempt 1", "Call attempt 2"]
    assert sorted(below["Call attempt 1"]) == ["query 1", "query 2"]
    assert below["Call attempt 2"] == ["query 2"]
    failed = [span.name for span in collector.spans() if span.status.status_code is trace.StatusCode.ERROR]
    assert failed.count("Call attempt 1") == 1
    frames = {span.attributes["statechain.frame"] for span in collector.spans() if span.name == "Call"}  # type: ignore[index]
    assert frames == {"Each[0]", "Each[1]"}


async def test_a_failure_shows_by_its_name_and_no_payload_shows_at_all(collector: Collector) -> None:
    tasks = TaskRegistry()

    @tasks.register
    async def call(value: str) -> None:
        raise TaskError("Shop.Closed", cause=value)

    async with Engine(tasks=tasks, observers=[collector.observer]) as engine:
        handle = await (await engine.create_state_machine("call", CALL)).start_execution(SECRET)
        await handle.wait()
    for span in collector.spans():
        assert span.attributes is not None
        assert span.attributes["error.type"] == "Shop.Closed"
        assert span.status.status_code is trace.StatusCode.ERROR
        assert SECRET not in span.to_json()
    assert [span.name for span in collector.spans()] == ["Call attempt 1", "Call", "execution call"]
    (ended,) = collector.metric("statechain.executions.ended")
    assert ended.attributes == {"statechain.state_machine": "call", "statechain.status": "FAILED"}


async def test_the_work_of_a_worker_is_measured(collector: Collector) -> None:
    tasks = TaskRegistry()
    tasks.add("call", lambda value: value)
    async with Engine(tasks=tasks, observers=[collector.observer]) as engine:
        machine = await engine.create_state_machine("call", CALL)
        for n in range(3):
            await machine.execute(n)
        (running,) = collector.metric("statechain.executions.running")
        assert running.value == 0
    (started,) = collector.metric("statechain.executions.started")
    assert (started.value, started.attributes["statechain.resumed"]) == (3, False)
    for name in ("execution", "state", "attempt"):
        (duration,) = collector.metric(f"statechain.{name}.duration")
        assert duration.count == 3
    (batch,) = collector.metric("statechain.journal.batch_size")
    (flush,) = collector.metric("statechain.journal.flush.duration")
    assert batch.sum >= 7
    assert batch.count == flush.count
    (pending,) = collector.metric("statechain.journal.pending")
    assert pending.value == 0


async def test_a_lease_is_measured(collector: Collector) -> None:
    collector.observer.observe(LeaseRenewed("worker-1", 0.02, 0))
    collector.observer.observe(LeaseRenewed("worker-1", 0.04, 2))
    (renewal,) = collector.metric("statechain.lease.renewal.duration")
    (lapses,) = collector.metric("statechain.lease.lapses")
    assert (renewal.count, renewal.sum) == (2, pytest.approx(0.06))
    assert (lapses.value, lapses.attributes) == (2, {"statechain.worker": "worker-1"})


async def test_suspects_are_counted(collector: Collector) -> None:
    suspect = execution()
    collector.observer.observe(SuspectsCounted(worker_id="worker-1", count=3, most_deaths=2))
    collector.observer.observe(SuspectTakenUp(execution=suspect, state_machine="orders", deaths=2, group_size=8))
    collector.observer.observe(ExecutionPoisoned(execution=suspect, state_machine="orders", deaths=9))
    (waiting,) = collector.metric("statechain.suspects")
    (tried,) = collector.metric("statechain.suspects.taken_up")
    (poisoned,) = collector.metric("statechain.executions.poisoned")
    assert (waiting.value, waiting.attributes) == (3, {"statechain.worker": "worker-1"})
    assert tried.attributes == {"statechain.state_machine": "orders", "statechain.deaths": 2}
    assert (tried.value, poisoned.value) == (1, 1)
    assert collector.spans() == []


async def test_claims_under_limits_are_counted_apart(collector: Collector) -> None:
    collector.observer.observe(ExecutionsClaimed(worker_id="worker-1", count=5, seconds=0.01, limited=2))
    points = collector.metric("statechain.executions.claimed")
    assert {point.attributes["statechain.limited"]: point.value for point in points} == {False: 3, True: 2}


async def test_what_waits_for_limits_is_counted(collector: Collector) -> None:
    collector.observer.observe(QueueCounted(worker_id="worker-1", state_machine="orders", waiting=7, running=2))
    (waiting,) = collector.metric("statechain.queue.waiting")
    (running,) = collector.metric("statechain.queue.running")
    assert (waiting.value, running.value) == (7, 2)
    assert waiting.attributes == running.attributes == {"statechain.state_machine": "orders"}


async def test_a_chained_execution_names_its_source_and_caught_errors_are_no_failures(collector: Collector) -> None:
    caught = {
        "StartAt": "Call",
        "States": {
            "Call": {
                "Type": "Task",
                "Resource": "call",
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Done"}],
                "End": True,
            },
            "Done": {"Type": "Succeed"},
        },
    }
    tasks = TaskRegistry()

    @tasks.register
    async def call(_value: object) -> None:
        raise TaskError("Shop.Closed")

    async with Engine(tasks=tasks, observers=[collector.observer]) as engine:
        machine = await engine.create_state_machine("caught", caught)
        first = await machine.execute({})
        await machine.execute(source=first)
    spans = {span.name: dict(span.attributes or {}) for span in collector.spans()}
    assert spans["execution caught"]["statechain.source.execution.id"] == first.id
    assert spans["Call"]["statechain.outcome"] == "CAUGHT"
    assert spans["Call"]["statechain.next"] == "Done"
    assert spans["Call"]["error.type"] == "Shop.Closed"
    failed = {span.name for span in collector.spans() if span.status.status_code is trace.StatusCode.ERROR}
    assert failed == {"Call attempt 1"}


async def test_what_is_left_to_others_closes_its_spans_and_is_no_end(collector: Collector) -> None:
    storage, tasks = MemoryRepository(), TaskRegistry()
    wait = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}

    async def run_and_leave() -> None:
        async with Engine(storage, tasks=tasks, observers=[collector.observer]) as engine:
            await (await engine.create_state_machine("wait", wait)).start_execution({})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_and_leave()
    async with Engine(storage, clock=VirtualClock(), observers=[collector.observer], wait_for="all"):
        pass
    executions = [span for span in collector.spans() if span.name == "execution wait"]
    assert [dict(span.attributes or {}).get("statechain.execution.left") for span in executions] == [True, None]
    assert [dict(span.attributes or {}).get("statechain.execution.resumed") for span in executions] == [False, True]
    assert [point.value for point in collector.metric("statechain.executions.ended")] == [1]
    assert [point.value for point in collector.metric("statechain.executions.running")] == [0]


async def test_claims_shards_and_what_waits_are_measured(collector: Collector) -> None:
    tasks = TaskRegistry()

    @tasks.register
    async def call(value: int) -> int:
        return value

    async with MemoryRepository() as repository, Engine(repository, role="client") as client:
        machine = await client.create_state_machine("call", CALL)
        handles = [await machine.start_execution(number) for number in range(4)]
        async with backlog_metrics(client, meter_provider=collector.meters):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            (waiting,) = collector.metric("statechain.backlog.executions")
            assert waiting.value == 4
        async with Engine(repository, tasks=tasks, observers=[collector.observer]), asyncio.timeout(30):
            for handle in handles:
                await handle.wait()
            options = BatchExecutionOptions(concurrent_batches=4, shard_size=2)
            batch = await machine.start_batch(ExecutionFilter(), options=options)
            await batch.wait()
    (claimed,) = collector.metric("statechain.executions.claimed")
    assert claimed.value == 4
    assert {point.attributes["statechain.claimed"] for point in collector.metric("statechain.claim.duration")} >= {True}
    (shard,) = collector.metric("statechain.shard.duration")
    assert (shard.count, shard.attributes) == (2, {"statechain.outcome": "DONE"})
    (running,) = collector.metric("statechain.shards.running")
    assert running.value == 0


async def test_what_waits_is_measured_with_shards_and_tickets(collector: Collector) -> None:
    class Counted:
        async def backlog(self) -> Backlog:
            return Backlog(executions=5, shards=3, running_shards=2, tickets=1)

    async with backlog_metrics(Counted(), meter_provider=collector.meters):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    shards = collector.metric("statechain.backlog.shards")
    assert {point.attributes["statechain.shard.running"]: point.value for point in shards} == {False: 3, True: 2}
    (tickets,) = collector.metric("statechain.backlog.tickets")
    assert tickets.value == 1
