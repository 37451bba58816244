"""What a history shows of the inputs that states made, evaluated again: what the handlers were given."""

from __future__ import annotations

from typing import Any

import pytest

from statechain import Limits, TaskError
from support.engine_harness import EngineHarness, machine, task, types

ANY = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 9}]
DISTRIBUTED = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}


def scheduled(events: list[dict[str, Any]]) -> list[str]:
    """Return what the history says that Tasks were given, in the order of their ids."""
    return [event["taskScheduledEventDetails"]["parameters"] for event in events if event["type"] == "TaskScheduled"]


def noting(harness: EngineHarness, *, failures: int = 0) -> list[str]:
    """Register a handler that notes its input, and fails some times; return the texts of the inputs."""
    given: list[str] = []

    async def note(value: Any) -> Any:
        given.append(value["id"])
        if len(given) <= failures:
            raise ValueError("not yet")
        return value

    harness.tasks.add("Note", note)
    return given


def drawing(**more: Any) -> dict[str, Any]:
    """Return a Map whose items draw their ids."""
    selector = {"id.$": "States.UUID()", "place.$": "$$.Map.Item.Index", "retries.$": "$$.State.RetryCount"}
    return {"Type": "Map", "ItemSelector": selector, "ItemProcessor": machine(Note=task("Note")), **more}


async def test_items_are_shown_with_the_numbers_that_they_drew(quick: EngineHarness) -> None:
    given = noting(quick)
    ended = await quick.run(machine(Each=drawing(MaxConcurrency=1)), [1, 2, 3, 4])
    assert len(set(given)) == 4
    events = await quick.history(ended)
    assert [id_ in text for id_, text in zip(given, scheduled(events), strict=True)] == [True] * 4
    for event in events:
        alone = await quick.engine.get_execution_history(ended.id, after=event["id"] - 1, limit=1)
        assert alone == [event]


async def test_items_of_a_retried_map_draw_anew_and_are_shown_so(quick: EngineHarness) -> None:
    given = noting(quick, failures=2)
    ended = await quick.run(machine(Each=drawing(MaxConcurrency=1, Retry=ANY)), [1, 2])
    assert ended.status == "SUCCEEDED"
    assert len(set(given)) == 4
    shown = scheduled(await quick.history(ended))
    assert [id_ in text for id_, text in zip(given, shown, strict=True)] == [True] * 4
    assert [text.partition('"retries":')[2] for text in shown] == ["0}", "1}", "2}", "2}"]


async def test_a_map_that_draws_how_many_items_it_has_is_shown_after_retries(quick: EngineHarness) -> None:
    given = noting(quick, failures=3)
    items = "{% [[1..$floor($random() * 50) + 1].{'id': $string($)}] %}"
    each = {"Type": "Map", "Items": items, "MaxConcurrency": 1, "ItemProcessor": machine(Note=task("Note"))}
    definition = {"QueryLanguage": "JSONata", **machine(Each={**each, "Retry": ANY})}
    ended = await quick.run(definition, {})
    assert ended.status == "SUCCEEDED"
    events = await quick.history(ended)
    lengths = [each["mapStateStartedEventDetails"]["length"] for each in events if each["type"] == "MapStateStarted"]
    assert len(lengths) == 4
    assert lengths[-1] == len(ended.output)
    assert len(scheduled(events)) == len(given)


async def test_items_that_are_made_again_after_a_crash_draw_what_they_drew(quick: EngineHarness) -> None:
    given: dict[int, set[str]] = {}
    is_first = True

    async def note(value: Any) -> Any:
        given.setdefault(value["place"], set()).add(value["id"])
        quick.calls["Note"] += 1
        if is_first and value["place"] != 1:
            await quick.clock.sleep_until(quick.clock.now().replace(year=9000))
        return value

    quick.tasks.add("Note", note)
    started = await quick.start(machine(Each=drawing()), [1, 2, 3])
    await quick.reached("Note", 3)
    # The Map, and the three visits of its iterations: that of item 1 is over.
    await quick.written(started, 2)
    is_first = False
    await quick.reopen()
    assert (await quick.ended(started.id)).status == "SUCCEEDED"
    assert {place: len(ids) for place, ids in given.items()} == {0: 1, 1: 1, 2: 1}


async def test_attempts_after_a_redrive_are_shown_with_what_they_were_given(quick: EngineHarness) -> None:
    given = noting(quick, failures=3)
    parameters = {"id.$": "States.UUID()", "retries.$": "$$.State.RetryCount"}
    retry = [{**ANY[0], "MaxAttempts": 1}]
    failed = await quick.run(machine(Note=task("Note", Parameters=parameters, Retry=retry)))
    assert failed.status == "FAILED"
    await quick.engine.redrive_execution(failed.id)
    ended = await quick.ended(failed.id)
    assert ended.status == "SUCCEEDED"
    shown = scheduled(await quick.history(ended))
    assert [id_ in text for id_, text in zip(given, shown, strict=True)] == [True] * 4
    assert [text.partition('"retries":')[2] for text in shown] == ["0}", "1}", "0}", "1}"]


LONG = "$sum($map([1..3000], function($i) { $i }))"


@pytest.mark.parametrize("length", [1, 20_000], ids=["short", "long"])
async def test_inputs_that_took_long_to_make_are_shown(quick: EngineHarness, length: int) -> None:
    given = noting(quick)
    made = {"id": "{% $uuid() %}", "sum": f"{{% {LONG} %}}", "last": "{% $uuid() %}"}
    each = {"Type": "Map", "Items": [1, 2], "ItemSelector": made, "ItemProcessor": machine(Note=task("Note"))}
    states = machine(One=task("Note", Arguments=made, Output="{% $states.input %}", Next="Each"), Each=each)
    ended = await quick.run({"QueryLanguage": "JSONata", **states}, "x" * length)
    assert ended.status == "SUCCEEDED"
    shown = scheduled(await quick.history(ended))
    assert [id_ in text for id_, text in zip(given, shown, strict=True)] == [True] * 3


def nested(levels: int) -> Any:
    """Return an array in an array, so many levels deep."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


HALF = "\ud83d"
REFUSED: dict[str, tuple[dict[str, Any], Any]] = {
    "too deep": (task("Note", Parameters={"id.$": "$"}), nested(200)),
    "no JSON": (task("Note", Parameters={"id.$": "States.Format('{}\ude00', $)"}), HALF),
    "of a nested execution": (
        task("arn:aws:states:::states:startExecution", Parameters={"StateMachineArn": "x", "Input": {"in.$": "$"}}),
        nested(199),
    ),
}


@pytest.mark.parametrize(("state", "value"), REFUSED.values(), ids=REFUSED)
async def test_an_input_that_was_refused_is_shown(quick: EngineHarness, state: dict[str, Any], value: Any) -> None:
    noting(quick)
    ended = await quick.run(machine(Only=state), value)
    assert ended.status == "FAILED"
    events = await quick.history(ended)
    assert types(events)[-2:] == ["TaskFailed", "ExecutionFailed"]
    assert len(scheduled(events)) == 1


async def test_payloads_that_nest_deeper_than_is_usual_are_shown(quick: EngineHarness) -> None:
    noting(quick)
    await quick.reopen(limits=Limits(payload_depth=300))
    deep = nested(250)
    definition = machine(
        Set={"Type": "Pass", "Assign": {"kept.$": "$"}, "Parameters": {"id.$": "$"}, "Next": "Both"},
        Both={"Type": "Parallel", "Branches": [machine(Note=task("Note", Parameters={"id.$": "$kept"}))]},
    )
    ended = await quick.run(definition, deep)
    assert (ended.status, ended.output) == ("SUCCEEDED", [{"id": {"id": deep}}])
    assert types(await quick.history(ended))[-1] == "ExecutionSucceeded"


@pytest.mark.parametrize(
    ("more", "failures"),
    [({}, 0), ({"Retry": ANY}, 2), ({"TimeoutSeconds": 60}, 0), ({"TimeoutSeconds": 60, "Retry": ANY}, 2)],
    ids=["a plain one", "after retries", "with a timeout", "with a timeout, after retries"],
)
async def test_a_result_is_shown_where_the_output_is_another_one(
    quick: EngineHarness, more: dict[str, Any], failures: int
) -> None:
    async def work(value: Any) -> Any:
        quick.calls["Work"] += 1
        if quick.calls["Work"] <= failures:
            raise TaskError("Broken")
        return {"made": value}

    quick.tasks.add("Work", work)
    ended = await quick.run(machine(Work=task("Work", ResultPath="$.result", **more)), {"n": 1})
    events = {event["type"]: event for event in await quick.history(ended)}
    assert events["TaskSucceeded"]["taskSucceededEventDetails"]["output"] == '{"made":{"n":1}}'
    assert events["TaskStateExited"]["stateExitedEventDetails"]["output"] == '{"n":1,"result":{"made":{"n":1}}}'


async def test_an_evaluation_that_failed_is_shown_with_its_field_its_error_and_its_cause(quick: EngineHarness) -> None:
    state = {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $states.input.a + 'text' %}"}
    ended = await quick.run(machine(Add=state), {"a": 1})
    (shown,) = [each for each in await quick.history(ended) if each["type"] == "EvaluationFailed"]
    details = shown["evaluationFailedEventDetails"]
    assert (details["location"], details["state"]) == ("Output", "Add")
    assert (details["error"], details["cause"]) == (ended.error, ended.cause)
