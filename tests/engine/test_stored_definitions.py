"""Definitions that are stored: they run as they are, whatever this release would say of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from statechain import DefinitionError, Engine
from statechain.records.executions import StateMachineRecord
from statechain.storage.repository import CreateStateMachine


async def test_a_stored_definition_runs_though_it_would_be_refused_now(engine: Engine) -> None:
    processor = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
    definition = {
        "StartAt": "M",
        "States": {"M": {"Type": "Map", "Label": "", "ItemProcessor": processor, "End": True}},
    }
    with pytest.raises(DefinitionError):
        await engine.create_state_machine("stored", definition)
    record = StateMachineRecord(
        id="stored",
        name="stored",
        revision=1,
        type="STANDARD",
        definition=json.dumps(definition),
        created=datetime(2025, 1, 1, tzinfo=UTC),
    )
    await engine.repository.commit([CreateStateMachine(machine=record)])
    machine = await engine.get_state_machine("stored")
    assert (await machine.execute([1])).output == [1]
    assert machine.definition == definition
    assert "M" in machine.to_mermaid()
