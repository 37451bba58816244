"""Facts → OpenTelemetry: a span for each execution, state and attempt, the metrics of a worker, and of what waits.

Needs the extra ``otel``. Spans and metrics have ids, names and error names, never payloads or causes; the one text of
yours is that of an exception that a handler raised, in the exception event of its attempt. What a handler traces by
itself hangs below the span of its attempt; an execution that is started inside a span hangs below that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Token
from typing import Protocol, TypeAlias

try:
    from opentelemetry import context, metrics, trace
except ModuleNotFoundError as fault:
    raise ModuleNotFoundError(
        "telemetry needs OpenTelemetry's API: pip install 'statechain[otel]'", name=fault.name
    ) from fault

from statechain.arguments import PAUSE, checked, with_method
from statechain.cancellation import wait_ignoring_cancellation
from statechain.observers import (
    AttemptEnded,
    AttemptStarted,
    ExecutionEnded,
    ExecutionLeft,
    ExecutionPoisoned,
    ExecutionResumed,
    ExecutionsClaimed,
    ExecutionStarted,
    Fact,
    JournalFlushed,
    LeaseRenewed,
    QueueCounted,
    ShardEnded,
    ShardStarted,
    StateEntered,
    StateLeft,
    SuspectsCounted,
    SuspectTakenUp,
)
from statechain.records.executions import Execution, ExecutionStatus
from statechain.reports import Backlog

__all__ = ["HasBacklog", "OpenTelemetryObserver", "backlog_metrics"]

logger = logging.getLogger(__name__)

Attributes: TypeAlias = dict[str, str | bool | int | float]
NAME = "statechain"
# The SDK's own boundaries are made for milliseconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400)
WRITES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class OpenTelemetryObserver:
    """An observer that traces and measures: ``Engine(..., observers=[OpenTelemetryObserver()])``.

    Arguments:
        tracer_provider: Where spans go; the global provider unless given.

        meter_provider: Where metrics go; the global provider unless given.
    """

    @checked(
        tracer_provider=with_method("get_tracer", "a TracerProvider").or_none(),
        meter_provider=with_method("get_meter", "a MeterProvider").or_none(),
    )
    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._spans = _Spans(trace.get_tracer(NAME, tracer_provider=tracer_provider))
        self._meters = _Meters(metrics.get_meter(NAME, meter_provider=meter_provider))

    def observe(self, fact: Fact) -> None:
        """Trace and measure a fact."""
        self._meters.observe(fact)
        self._spans.observe(fact)


class HasBacklog(Protocol):
    """An engine, in any role."""

    async def backlog(self) -> Backlog:
        """Return what waits for a worker now."""


@checked(
    engine=with_method("backlog", "an Engine"),
    seconds=PAUSE,
    meter_provider=with_method("get_meter", "a MeterProvider").or_none(),
)
@asynccontextmanager
async def backlog_metrics(
    engine: HasBacklog, *, seconds: float = 15.0, meter_provider: metrics.MeterProvider | None = None
) -> AsyncIterator[None]:
    """Measure what waits for a worker while the context is open: `Engine.backlog`, as gauges.

    One process of a deployment does it, such as the one that serves its metrics: every other would report the same.

    Arguments:
        engine: An open engine; ``role="reader"`` is enough.

        seconds: How long it is from one question to the next.

        meter_provider: Where metrics go; the global provider unless given.

    Returns:
        An asynchronous context manager.
    """
    gauges = _BacklogGauges(metrics.get_meter(NAME, meter_provider=meter_provider))
    measuring = asyncio.create_task(_measure(engine, gauges, seconds), name="statechain backlog")
    try:
        yield
    finally:
        measuring.cancel()
        await wait_ignoring_cancellation(measuring)


async def _measure(engine: HasBacklog, gauges: _BacklogGauges, seconds: float) -> None:
    while True:
        try:
            gauges.set(await engine.backlog())
        except Exception as error:  # noqa: BLE001 -- neither an outage of storage nor a meter must end the measuring
            logger.warning("what waits for a worker could not be counted: %s", type(error).__name__)
        await asyncio.sleep(seconds)


class _BacklogGauges:
    """What `Engine.backlog` says."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._executions = meter.create_gauge(
            "statechain.backlog.executions", "{execution}", "RUNNING executions that no worker has claimed"
        )
        self._shards = meter.create_gauge(
            "statechain.backlog.shards", "{shard}", "Open shards of DISTRIBUTED batches, by whether a worker runs them"
        )
        self._tickets = meter.create_gauge(
            "statechain.backlog.tickets", "{ticket}", "Tickets that wait with the dispatcher, where it knows"
        )

    def set(self, backlog: Backlog) -> None:
        self._executions.set(backlog.executions)
        self._shards.set(backlog.shards, {"statechain.shard.running": False})
        self._shards.set(backlog.running_shards, {"statechain.shard.running": True})
        if backlog.tickets is not None:
            self._tickets.set(backlog.tickets)


class _Spans:
    """The spans that are open, by what they are of."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._executions: dict[str, trace.Span] = {}
        self._states: dict[tuple[str, str], trace.Span] = {}  # a line of control is in one state at a time
        self._attempts: dict[tuple[str, str], tuple[trace.Span, Token[context.Context]]] = {}

    def observe(self, fact: Fact) -> None:
        match fact:
            case ExecutionStarted() | ExecutionResumed():
                self._begin_execution(fact)
            case ExecutionEnded() | ExecutionLeft():
                self._end_execution(fact)
            case StateEntered():
                self._enter(fact)
            case StateLeft():
                self._leave(fact)
            case AttemptStarted():
                self._begin_attempt(fact)
            case AttemptEnded():
                self._end_attempt(fact)
            case JournalFlushed() | LeaseRenewed() | QueueCounted():
                pass
            case SuspectsCounted() | SuspectTakenUp() | ExecutionPoisoned():
                pass
            case ExecutionsClaimed() | ShardStarted() | ShardEnded():
                pass

    def _begin_execution(self, fact: ExecutionStarted | ExecutionResumed) -> None:
        execution = fact.execution
        attributes = _identity(execution, fact.state_machine)
        attributes["statechain.execution.name"] = execution.name
        attributes["statechain.execution.resumed"] = isinstance(fact, ExecutionResumed)
        if execution.source is not None:
            attributes["statechain.source.execution.id"] = execution.source.execution_id
        span = self._tracer.start_span(f"execution {fact.state_machine}", attributes=attributes)
        self._executions[execution.id] = span

    def _end_execution(self, fact: ExecutionEnded | ExecutionLeft) -> None:
        span = self._executions.pop(fact.execution.id, None)
        if span is None:
            return
        if isinstance(fact, ExecutionEnded):
            span.set_attribute("statechain.execution.status", str(fact.execution.status))
            if fact.execution.status is not ExecutionStatus.SUCCEEDED:
                _fail(span, fact.execution.error or str(fact.execution.status))
        else:
            span.set_attribute("statechain.execution.left", value=True)
        span.end()

    def _enter(self, fact: StateEntered) -> None:
        key = fact.execution.id, fact.frame
        # A frame's path is the parent's, a slash and the branch: in the names of states slashes are escaped.
        parent = self._states.get((key[0], fact.frame.rpartition("/")[0])) if fact.frame else None
        attributes = _identity(fact.execution, fact.state_machine)
        attributes |= {
            "statechain.state": fact.state,
            "statechain.state.type": fact.type,
            "statechain.frame": fact.frame,
            "statechain.visit": fact.number,
        }
        self._states[key] = self._tracer.start_span(
            fact.state, _below(parent or self._executions.get(key[0])), attributes=attributes
        )

    def _leave(self, fact: StateLeft) -> None:
        span = self._states.pop((fact.execution.id, fact.frame), None)
        if span is None:
            return
        span.set_attribute("statechain.outcome", fact.outcome)
        if fact.next is not None:
            span.set_attribute("statechain.next", fact.next)
        if fact.outcome == "FAILED":
            _fail(span, fact.error)
        # Caught: the state went on, and its span is no error.
        elif fact.error is not None:
            span.set_attribute("error.type", fact.error)
        span.end()

    def _begin_attempt(self, fact: AttemptStarted) -> None:
        key = fact.execution.id, fact.frame
        attributes = _identity(fact.execution, fact.state_machine)
        attributes |= {
            "statechain.state": fact.state,
            "statechain.attempt": fact.attempt,
            "statechain.resource": fact.resource,
        }
        below = _below(self._states.get(key) or self._executions.get(key[0]))
        span = self._tracer.start_span(f"{fact.state} attempt {fact.attempt}", below, attributes=attributes)
        # The fact is reported in the task that calls the handler, and that it ended is reported there too.
        self._attempts[key] = span, context.attach(trace.set_span_in_context(span))

    def _end_attempt(self, fact: AttemptEnded) -> None:
        open_attempt = self._attempts.pop((fact.execution.id, fact.frame), None)
        if open_attempt is None:
            return
        span, token = open_attempt
        context.detach(token)
        if fact.exception is not None:
            span.record_exception(fact.exception)
        if fact.error is not None:
            _fail(span, fact.error)
        span.set_attribute("statechain.attempt.cancelled", fact.is_cancelled)
        span.end()


class _Meters:
    """What is counted and measured; names in OpenTelemetry's manner, durations in seconds."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._started = meter.create_counter(
            "statechain.executions.started", "{execution}", "Executions that began to run here, by how"
        )
        self._ended = meter.create_counter(
            "statechain.executions.ended", "{execution}", "Executions that ended here, by status"
        )
        self._running = meter.create_up_down_counter(
            "statechain.executions.running", "{execution}", "Executions that this worker holds by its lease"
        )
        self._execution = _seconds(meter, "statechain.execution.duration", "From an execution's start to its end")
        self._state = _seconds(meter, "statechain.state.duration", "From a state's entry to its exit")
        self._attempt = _seconds(meter, "statechain.attempt.duration", "How long an attempt of a Task took")
        self._flush = _seconds(meter, "statechain.journal.flush.duration", "How long a commit took, retries included")
        self._batch = meter.create_histogram(
            "statechain.journal.batch_size",
            "{write}",
            "Writes that one commit served",
            explicit_bucket_boundaries_advisory=WRITES,
        )
        self._pending = meter.create_gauge(
            "statechain.journal.pending", "{write}", "Writes that wait for the next commit, after one"
        )
        self._renewal = _seconds(meter, "statechain.lease.renewal.duration", "How long a renewal of the lease took")
        self._lapses = meter.create_gauge(
            "statechain.lease.lapses", "{lapse}", "How often the lease was renewed too late, or over a new connection"
        )
        self._waiting = meter.create_gauge(
            "statechain.queue.waiting", "{execution}", "Executions that wait for a limit of their state machine"
        )
        self._limited = meter.create_gauge(
            "statechain.queue.running", "{execution}", "Executions that run under limits, over all workers"
        )
        self._suspects = meter.create_gauge(
            "statechain.suspects", "{execution}", "Executions left alone for a while, as workers died of them"
        )
        self._tried = meter.create_counter(
            "statechain.suspects.taken_up", "{execution}", "Suspects that were tried again, by how many deaths they had"
        )
        self._poisoned = meter.create_counter(
            "statechain.executions.poisoned", "{execution}", "Suspects that were ended as FAILED"
        )

        self._claim = _seconds(meter, "statechain.claim.duration", "How long it took to ask for executions to run")
        self._claimed = meter.create_counter(
            "statechain.executions.claimed", "{execution}", "Executions that storage gave to this worker"
        )
        self._shards = meter.create_up_down_counter(
            "statechain.shards.running", "{shard}", "Shards of DISTRIBUTED batches that this worker runs"
        )
        self._shard = _seconds(meter, "statechain.shard.duration", "How long a shard ran on this worker")

    def observe(self, fact: Fact) -> None:
        match fact:
            case ExecutionStarted() | ExecutionResumed():
                machine = {"statechain.state_machine": fact.state_machine}
                self._started.add(1, {**machine, "statechain.resumed": isinstance(fact, ExecutionResumed)})
                self._running.add(1, machine)
            case ExecutionEnded() | ExecutionLeft():
                self._running.add(-1, {"statechain.state_machine": fact.state_machine})
                if isinstance(fact, ExecutionEnded):
                    self._end(fact)
            case StateLeft():
                attributes = _place(fact)
                attributes |= {"statechain.state.type": fact.type, "statechain.outcome": fact.outcome}
                # The system's clock may have been set back meanwhile.
                self._state.record(max(0.0, fact.seconds), attributes)
            case AttemptEnded():
                self._attempt.record(max(0.0, fact.seconds), _place(fact))
            case JournalFlushed():
                self._flush.record(fact.seconds)
                self._batch.record(fact.writes)
                self._pending.set(fact.pending)
            case LeaseRenewed():
                self._renewal.record(fact.seconds)
                self._lapses.set(fact.lapses, {"statechain.worker": fact.worker_id})
            case StateEntered() | AttemptStarted():
                pass
            case _:
                self._observe_worker(fact)

    def _observe_worker(
        self,
        fact: ExecutionsClaimed
        | ShardStarted
        | ShardEnded
        | QueueCounted
        | SuspectsCounted
        | SuspectTakenUp
        | ExecutionPoisoned,
    ) -> None:
        match fact:
            case ExecutionsClaimed():
                self._claim.record(fact.seconds, {"statechain.claimed": fact.count > 0})
                for is_limited, count in ((False, fact.count - fact.limited), (True, fact.limited)):
                    if count:
                        self._claimed.add(count, {"statechain.limited": is_limited})
            case ShardStarted():
                self._shards.add(1)
            case ShardEnded():
                self._shards.add(-1)
                self._shard.record(fact.seconds, {"statechain.outcome": fact.outcome})
            case QueueCounted():
                machine = {"statechain.state_machine": fact.state_machine}
                self._waiting.set(fact.waiting, machine)
                self._limited.set(fact.running, machine)
            case SuspectsCounted():
                self._suspects.set(fact.count, {"statechain.worker": fact.worker_id})
            case SuspectTakenUp():
                self._tried.add(1, {"statechain.state_machine": fact.state_machine, "statechain.deaths": fact.deaths})
            case ExecutionPoisoned():
                self._poisoned.add(1, {"statechain.state_machine": fact.state_machine})

    def _end(self, fact: ExecutionEnded) -> None:
        execution = fact.execution
        attributes: Attributes = {
            "statechain.state_machine": fact.state_machine,
            "statechain.status": str(execution.status),
        }
        self._ended.add(1, attributes)
        # The start may be another machine's, whose clock is ahead.
        if execution.end_time is not None:
            self._execution.record(max(0.0, (execution.end_time - execution.start_time).total_seconds()), attributes)


def _seconds(meter: metrics.Meter, name: str, description: str) -> metrics.Histogram:
    return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=SECONDS)


def _identity(execution: Execution, state_machine: str) -> Attributes:
    return {"statechain.execution.id": execution.id, "statechain.state_machine": state_machine}


def _place(fact: StateLeft | AttemptEnded) -> Attributes:
    attributes: Attributes = {"statechain.state_machine": fact.state_machine, "statechain.state": fact.state}
    if fact.error is not None:
        attributes["error.type"] = fact.error
    return attributes


def _below(parent: trace.Span | None) -> context.Context | None:
    return None if parent is None else trace.set_span_in_context(parent)


def _fail(span: trace.Span, error: str | None) -> None:
    span.set_attribute("error.type", error or "unnamed")
    span.set_status(trace.StatusCode.ERROR, error)
