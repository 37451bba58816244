"""Records: immutable, quick to read, with ids that neither collide nor run backwards."""

from __future__ import annotations

import inspect
import re
import threading
import uuid
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from statechain import Batch, BatchStatus, Execution, ExecutionStatus, ItemCounts, Source
from statechain.records.callbacks import CallbackStatus
from statechain.records.executions import StateMachineRecord, Visit, new_id

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def execution(**fields: Any) -> Execution:
    given = {
        "id": "e",
        "name": "order-3",
        "state_machine_id": "m",
        "state_machine_revision": 1,
        "status": ExecutionStatus.SUCCEEDED,
        "input_text": '{"id":[3]}',
        "start_time": NOON,
        **fields,
    }
    return Execution(**given)


def test_ids_are_uuids_of_version_7_in_the_order_of_their_making() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    for each in ids[:100]:
        parsed = uuid.UUID(each)
        assert (str(parsed), parsed.version, parsed.variant) == (each, 7, uuid.RFC_4122)
    made_at = datetime.fromtimestamp((uuid.UUID(ids[-1]).int >> 80) / 1000, UTC)
    assert abs((made_at - datetime.now(UTC)).total_seconds()) < 60


def test_ids_of_several_threads_do_not_collide() -> None:
    ids: list[str] = []

    def make() -> None:
        ids.extend([new_id() for _ in range(5000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 20_000


def test_a_payload_is_decoded_afresh_for_each_who_looks() -> None:
    record = execution(output_text="[1]")
    record.input["id"].append(4)  # type: ignore[union-attr, index, call-overload]
    record.output.append(2)  # type: ignore[union-attr]
    assert (record.input, record.output) == ({"id": [3]}, [1])
    assert execution().output is None


def test_records_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        execution().status = ExecutionStatus.FAILED  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Source("e").state_name = "S"  # type: ignore[misc]


def test_only_running_is_not_the_end() -> None:
    assert [status for status in ExecutionStatus if not status.is_terminal] == [ExecutionStatus.RUNNING]
    assert f"{ExecutionStatus.TIMED_OUT}" == "TIMED_OUT"
    assert {str(status) for status in CallbackStatus} == {"WAITING", "SUCCEEDED", "FAILED", "CLOSED"}


def batch(**options: str) -> Batch:
    return Batch(
        id="b",
        name_prefix="invoice",
        state_machine_id="m",
        state_machine_revision=1,
        source_state_name=None,
        filter={},
        options=options,
        status=BatchStatus.RUNNING,
        start_time=NOON,
        item_counts=ItemCounts(total=7),
    )


def test_a_batch_is_distributed_by_its_mode() -> None:
    assert batch(mode="DISTRIBUTED").is_distributed
    assert not batch(mode="INLINE").is_distributed
    assert not batch().is_distributed, "the mode INLINE is not stored"


def test_reprs_are_short_and_tell_no_payload() -> None:
    secret = execution(input_text='"hunter2"', output_text='"hunter2"')
    assert repr(secret) == "<Execution order-3 SUCCEEDED>"
    machine = StateMachineRecord(id="m", name="orders", revision=2, type="STANDARD", definition="{}", created=NOON)
    assert repr(machine) == "<StateMachine orders revision 2>"
    assert repr(batch()) == "<Batch invoice RUNNING 7 items>"
    visit = Visit(
        execution_id="e",
        frame="",
        number=2,
        state="Price",
        type="Task",
        entered=NOON,
        exited=None,
        entered_event=2,
        exited_event=0,
        output='"hunter2"',
    )
    assert re.fullmatch(r"<Visit ·/Price#2 waiting>", repr(visit))


def test_an_end_or_a_move_changes_what_it_names_and_keeps_the_rest() -> None:
    names = [field.name for field in attrs.fields(Execution)]
    before = Execution(**{name: f"{name} before" for name in names})
    end = {name: f"{name} after" for name in inspect.signature(before.ended).parameters}
    assert attrs.asdict(before.ended(**end)) == {**attrs.asdict(before), **end}
    assert attrs.asdict(before.moved_to("there")) == {**attrs.asdict(before), "current_state": "there"}
