"""What only a distributed Map has: where its items are read, how they are batched, where its results are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from statechain.asl import model
from statechain.asl.expressions.fields import Number, compile_number, compile_number_at, out_of_range
from statechain.asl.expressions.jsonpath import compile_path
from statechain.asl.expressions.payload import jsonata_template, jsonpath_template, states_of
from statechain.asl.model import ABSENT
from statechain.asl.outcome import Branch, Context, Transfer
from statechain.codec import JSONValue, size_of
from statechain.errors import StateError
from statechain.limits import Limits

__all__ = ["Pack", "compile_batcher", "compile_transfer"]

MAX_ITEMS, MAX_ITEMS_PATH = "MaxItems", "MaxItemsPath"

Evaluate: TypeAlias = Callable[[JSONValue, Context], JSONValue]
Pack: TypeAlias = Callable[[Sequence[Branch]], Sequence[Branch]]
"""Make batches of items, each its own branch."""


def compile_transfer(
    transfer: model.ItemReader | model.ResultWriter | None, state: model.Map, limits: Limits
) -> Callable[[JSONValue, Context], Transfer] | None:
    """Compile an ItemReader or a ResultWriter; None where there is none."""
    if transfer is None:
        return None
    is_reader = isinstance(transfer, model.ItemReader)
    config = transfer.reader_config if isinstance(transfer, model.ItemReader) else transfer.writer_config
    name = "ItemReader" if is_reader else "ResultWriter"
    given = transfer.arguments if state.query_language == "JSONata" else transfer.parameters
    find_arguments = _compile(given, state, f"{name}/Arguments", limits)
    find_config = _compile_config(config, state, f"{name}/{'Reader' if is_reader else 'Writer'}Config", limits)

    def evaluate(value: JSONValue, context: Context) -> Transfer:
        arguments, settings = find_arguments(value, context), find_config(value, context)
        if not isinstance(arguments, dict) or not isinstance(settings, dict):
            raise StateError("States.Runtime", f"The {name}'s Arguments and configuration must be objects.")
        return Transfer(transfer.resource, arguments, settings)

    return evaluate


def _compile_config(config: model.Optional, state: model.Map, field: str, limits: Limits) -> Evaluate:
    """Compile a configuration, in which MaxItems is a number, found by a path or an expression where one is given."""
    if not isinstance(config, dict):
        return _compile(config, state, field, limits)
    rest = {key: item for key, item in config.items() if key not in {MAX_ITEMS, MAX_ITEMS_PATH}}
    find_rest = _compile(rest, state, field, limits)
    find_most = _compile_most(config, state, f"{field}/{MAX_ITEMS}", limits)
    if find_most is None:
        return find_rest

    def evaluate(value: JSONValue, context: Context) -> JSONValue:
        settings = find_rest(value, context)
        return {**settings, MAX_ITEMS: find_most(value, context)} if isinstance(settings, dict) else settings

    return evaluate


def _compile_most(config: dict[str, JSONValue], state: model.Map, field: str, limits: Limits) -> Evaluate | None:
    if state.query_language == "JSONata":
        return compile_number(state, config.get(MAX_ITEMS, ABSENT), None, field, limits)
    path = config.get(MAX_ITEMS_PATH)
    if isinstance(path, str):
        return compile_number_at(path, MAX_ITEMS, compile_path(path, limits=limits), whole=True)
    return None if MAX_ITEMS not in config else lambda _value, _context: config[MAX_ITEMS]


def _compile(template: model.Optional, state: model.Map, field: str, limits: Limits) -> Evaluate:
    if template is ABSENT:
        return lambda _value, _context: {}
    value = template
    if state.query_language == "JSONata":
        evaluate = jsonata_template(value, field, limits)
        return lambda raw, context: evaluate(states_of(raw, context), context)
    return jsonpath_template(value, limits)


def compile_batcher(state: model.Map, limits: Limits) -> Callable[[JSONValue, Context], Pack] | None:
    """Compile an ItemBatcher; None where there is none."""
    batcher = state.item_batcher
    if batcher is None:
        return None
    most = compile_number(state, batcher.max_items, batcher.max_items_path, "MaxItemsPerBatch", limits)
    bytes_ = compile_number(state, batcher.max_bytes, batcher.max_bytes_path, "MaxInputBytesPerBatch", limits)
    share = None if batcher.batch_input is ABSENT else _compile(batcher.batch_input, state, "BatchInput", limits)

    def batching(value: JSONValue, context: Context) -> Pack:
        common: dict[str, JSONValue] = {} if share is None else {"BatchInput": share(value, context)}
        bounds = (
            _bound(state, most, "MaxItemsPerBatch", value, context),
            _bound(state, bytes_, "MaxInputBytesPerBatch", value, context) or limits.payload_bytes,
        )
        return lambda branches: _pack(branches, common, *bounds)

    return batching


def _bound(state: model.Map, number: Number | None, field: str, value: JSONValue, context: Context) -> int:
    """Return a bound of a batch; 0 where there is none."""
    if number is None:
        return 0
    bound = int(number(value, context))
    if bound < 1 and state.query_language == "JSONata":
        raise out_of_range(bound, field, 1)
    if bound < 1:
        raise StateError("States.Runtime", f"field {field} must be positive")
    return bound


def _pack(branches: Sequence[Branch], common: dict[str, JSONValue], most: int, most_bytes: int) -> list[Branch]:
    """Fill one batch after the other, up to a number of items (0: any) and a size of its input."""
    packed: list[Branch] = []
    items: list[JSONValue] = []
    # Measured once: each batch has the same frame around its items.
    empty = size_of({**common, "Items": []})
    size = empty
    for branch in branches:
        # And a comma.
        length = size_of(branch.input) + 1
        # An item that is too large by itself is a batch alone, which then fails.
        if items and (len(items) == most or size + length > most_bytes):
            packed.append(Branch(branch.plan, {**common, "Items": items}, len(packed)))
            items, size = [], empty
        items.append(branch.input)
        size += length
    if items:
        packed.append(Branch(branches[0].plan, {**common, "Items": items}, len(packed)))
    return packed
