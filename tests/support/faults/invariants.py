"""What must hold of a storage and a ledger once the dust has settled, as a list of what does not.

Each rule answers to a promise of ``docs/guarantees.md``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from statechain import Engine, Execution, ExecutionFilter, ExecutionStatus, StateMachine
from support.faults.ledger import Call
from support.faults.workload import EXITS, expected

if TYPE_CHECKING:
    from statechain.records.executions import Visit

__all__ = ["Findings", "examine", "late_calls", "repeats", "visit_faults"]


@attrs.frozen
class Findings:
    """What an examination found.

    Attributes:
        violations: One sentence for each broken promise.

        repeats: How many calls were made again.
    """

    violations: Sequence[str]
    repeats: int


async def examine(
    engine: Engine, targets: StateMachine, calls: Sequence[Call], *, zombies: Collection[int] = ()
) -> Findings:
    """Hold every target against the source that it was chained from, and the ledger against both.

    Calls of ``zombies`` (processes that were stopped past their lease, and went on) are not held against the order:
    between its last look at its lease and its next call a process may sleep as long as it likes.
    """
    violations = [fault async for fault in _stored(engine, targets)]
    violations += _order_faults([call for call in calls if call.process not in zombies])
    return Findings(violations, repeats(calls))


async def _stored(engine: Engine, targets: StateMachine) -> AsyncIterator[str]:
    found = engine.iterate_executions()
    sources = {source.id: source async for source in found if source.state_machine_id != targets.id}
    chained: Counter[str] = Counter()
    async for target in engine.iterate_executions(ExecutionFilter(state_machine_id=targets.id)):
        source = sources.get("" if target.source is None else target.source.execution_id)
        if source is None:
            yield f"{target.name} was chained from nothing"
            continue
        chained[source.id] += 1
        for fault in _end_faults(target, source):
            yield fault
        for fault in visit_faults(await engine.repository.visits(target.id)):
            yield f"{target.name}: {fault}"
    for source_id in sources:
        if chained[source_id] != 1:
            yield f"{chained[source_id]} executions were chained from {source_id}"
    running = await engine.count_executions(ExecutionFilter(status="RUNNING"))
    if running:
        yield f"{running} executions are RUNNING"


def _end_faults(target: Execution, source: Execution) -> Iterator[str]:
    number: Any = source.input["n"]  # type: ignore[index, call-overload]
    if target.status is not ExecutionStatus.SUCCEEDED:
        yield f"{target.name} ended {target.status}: {target.error} {target.cause}"
    elif target.output != expected(number):
        yield f"{target.name} ended with {target.output}"


def visit_faults(visits: Iterable[Visit]) -> Iterator[str]:
    """Yield where a target's journal differs from an undisturbed run's: one exit for each visit, and no other."""
    exits = [visit for visit in visits if visit.exited is not None]
    for (frame, number), count in Counter((visit.frame, visit.number) for visit in exits).items():
        if count > 1:
            yield f"visit {number} of {frame!r} was recorded {count} times"
    left = Counter((visit.frame, visit.state) for visit in exits)
    if left != EXITS:
        yield f"recorded too often: {dict(left - EXITS)}, never: {dict(EXITS - left)}"
    numbers = defaultdict(list)
    for visit in exits:
        numbers[visit.frame].append(visit.number)
    for frame, found in numbers.items():
        if found != list(range(found[0], found[0] + len(found))):
            yield f"the visits of {frame!r} are numbered {found}"


def _order_faults(calls: Iterable[Call]) -> Iterator[str]:
    """Yield where a handler ran although its result had to be durable: a later step had begun, or all was over."""
    reached: dict[tuple[str, str], tuple[int, int]] = {}
    over: set[str] = set()
    for call in calls:
        if call.kind == "ended":
            over.add(call.execution)
            continue
        line, place = (call.execution, call.frame), (call.number, call.attempt)
        if call.execution in over:
            yield f"{call} came after the execution's end was told"
        elif place < reached.get(line, place):
            yield f"{call} came after visit and attempt {reached[line]}"
        reached[line] = max(place, reached.get(line, place))


def late_calls(calls: Iterable[Call]) -> int:
    """Return how many calls came after a later step of their line of control, or after the end."""
    return sum(1 for _ in _order_faults(calls))


def repeats(calls: Iterable[Call]) -> int:
    """Return how many calls were made again: handlers run at least once."""
    counts = Counter(call.attempted for call in calls if call.kind == "call")
    return sum(counts.values()) - len(counts)
