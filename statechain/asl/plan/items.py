"""A Map's items: where they come from, what each iteration is given, how many may fail (ASL, "Map State")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, TypeAlias, overload

import attrs

from statechain.asl import model
from statechain.asl.expressions.cause_text import format_value
from statechain.asl.expressions.fields import Number, compile_number, compile_number_at, out_of_range, unexpected
from statechain.asl.expressions.jsonata import evaluation_failed
from statechain.asl.expressions.jsonpath import compile_path
from statechain.asl.expressions.payload import (
    expression_in,
    input_filter,
    jsonata_template,
    jsonpath_template,
    states_of,
)
from statechain.asl.model import ABSENT
from statechain.asl.outcome import Branch, Context, FanOut, Outcome, Tolerance
from statechain.asl.plan.bounds import within_bounds
from statechain.asl.plan.flow import compile_input
from statechain.asl.plan.map_runs import compile_batcher, compile_transfer
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.limits import Limits

if TYPE_CHECKING:
    from statechain.asl.outcome import Plan

__all__ = ["compile_items"]

Select: TypeAlias = Callable[[JSONValue, "ItemContext"], JSONValue]
Member: TypeAlias = "tuple[str | None, JSONValue, str | None]"
"""An item with its key, None where it comes from an array, and its source, None in an inline Map."""

STATE_DATA = "STATE_DATA"
"""The source of the items of a distributed Map that come from its input."""

Source: TypeAlias = Callable[[JSONValue, Context], Sequence[Member]]


class ItemContext:
    """The context of one item: that of the Map, with ``Map.Item`` in its context object.

    Each item draws from a random source of its own: the numbers must not depend on which items are made before it,
    since after a crash, and in a history, it may be made without them.
    """

    __slots__ = ("_context", "_item", "now", "random", "rng", "variables")

    def __init__(self, context: Context, item: Mapping[str, JSONValue]) -> None:
        self._context = context
        self._item = item
        self.variables = context.variables
        self.now = context.now
        self.rng = context.rng
        self.random = cache(partial(context.rng, f"~item{item['Index']}"))

    def object(self) -> dict[str, JSONValue]:
        """Return the Map's context object with this item in it."""
        # A copy: the items share the Map's context object.
        return {**self._context.object(), "Map": {"Item": dict(self._item)}}


@attrs.frozen(eq=False)
class Items(Sequence[Branch]):
    """The branches of a Map, each made when it is asked for."""

    plan: Plan
    members: Sequence[Member]
    raw: JSONValue
    context: Context
    select: Select | None

    def __len__(self) -> int:
        return len(self.members)

    @overload
    def __getitem__(self, index: int) -> Branch: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Branch]: ...

    def __getitem__(self, index: int | slice) -> Branch | Sequence[Branch]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        key, value, source = self.members[index]
        item: dict[str, JSONValue] = {"Index": index, "Value": value}
        if key is not None:
            item["Key"] = key
        if source is not None:
            item["Source"] = source
        made = value if self.select is None else self.select(self.raw, ItemContext(self.context, item))
        return Branch(self.plan, made, index, item)

    def __iter__(self) -> Iterator[Branch]:
        return (self[place] for place in range(len(self)))


def compile_items(state: model.Map, processor: Plan, limits: Limits) -> Callable[[JSONValue, Context], Outcome]:
    """Compile what a Map does when it is entered: one branch for each item, or for each batch of them."""
    take = compile_input(state, limits)
    find = _compile_source(state, limits)
    select = _compile_selector(state, limits)
    width = _compile_bound(state, state.max_concurrency, state.max_concurrency_path, "MaxConcurrency", limits)
    tolerance = _compile_tolerance(state, limits)
    read = compile_transfer(state.item_reader, state, limits)
    batching = compile_batcher(state, limits)
    write = compile_transfer(state.result_writer, state, limits)
    is_distributed = state.item_processor.mode == "DISTRIBUTED"

    def enter(raw: JSONValue, context: Context) -> Outcome:
        value = raw if take is None else take(raw, context)
        pack = None if batching is None else batching(value, context)

        def branches_of(members: Sequence[Member]) -> Sequence[Branch]:
            items = Items(processor, members, value, context, select)
            return items if pack is None else pack(items)

        return FanOut(
            branches=branches_of(find(value, context)) if state.item_reader is None else None,
            branches_of=branches_of,
            reader=None if read is None else partial(read, value, context),
            writer=None if write is None else write(value, context),
            max_concurrency=0 if width is None else int(width(value, context)),
            distributed=is_distributed,
            tolerance=partial(tolerance, value, context),
            label=state.label,
        )

    return enter


def _members(items: JSONValue, *, is_distributed: bool) -> Sequence[Member] | None:
    """Return the items of an array, or in a distributed Map the members of an object; None for anything else."""
    source = STATE_DATA if is_distributed else None
    if isinstance(items, list):
        return [(None, item, source) for item in items]
    if is_distributed and isinstance(items, dict):
        # AWS hands out the members of an object in this shape.
        return [(key, {"Key": key, "Value": item}, source) for key, item in items.items()]
    return None


def _compile_source(state: model.Map, limits: Limits) -> Source:
    """Compile what finds the items: an array, or in a distributed Map an object, whose members are the items."""
    if state.query_language == "JSONata":
        return _compile_jsonata_source(state, limits)
    find = input_filter(state.items_path, limits)
    is_distributed = state.item_processor.mode == "DISTRIBUTED"
    path = "$" if state.items_path is ABSENT else state.items_path

    def source(value: JSONValue, context: Context) -> Sequence[Member]:
        items = value if find is None else find(value, context)
        members = _members(items, is_distributed=is_distributed)
        if members is None:
            raise StateError("States.Runtime", f'Reference path "{path}" must point to array.')
        return members

    return source


def _compile_jsonata_source(state: model.Map, limits: Limits) -> Source:
    expression = expression_in(state.items)
    is_distributed = state.item_processor.mode == "DISTRIBUTED"
    evaluate = None if state.items is ABSENT else jsonata_template(state.items, "Items", limits)

    def source(value: JSONValue, context: Context) -> Sequence[Member]:
        items = value if evaluate is None else evaluate(states_of(value, context), context)
        members = _members(items, is_distributed=is_distributed)
        if members is not None:
            return members
        if evaluate is None:
            raise evaluation_failed(f"Map state input must be an array but was: {format_value(items)}", "")
        if expression is None:  # an object in the definition, of which no expression is wrong
            raise evaluation_failed(f"The Items field must be an array but was: {format_value(items)}", "Items")
        raise unexpected(expression, "Items", "array", items)

    return source


def _compile_selector(state: model.Map, limits: Limits) -> Select | None:
    template = state.item_selector if state.item_selector is not ABSENT else state.parameters
    if template is ABSENT:
        return None
    if state.query_language == "JSONata":
        evaluate = jsonata_template(template, "ItemSelector", limits)
        make: Select = lambda raw, context: evaluate(states_of(raw, context), context)  # noqa: E731
    else:
        make = jsonpath_template(template, limits)
    if state.item_processor.mode == "DISTRIBUTED":
        return make  # an item that is too large has failed, and the others go on
    return lambda raw, context: within_bounds(make(raw, context), state.name, limits)


def _compile_tolerance(state: model.Map, limits: Limits) -> Callable[[JSONValue, Context], Tolerance]:
    field, path = state.tolerated_failure_count, state.tolerated_failure_count_path
    count = _compile_bound(state, field, path, "ToleratedFailureCount", limits)
    field, path = state.tolerated_failure_percentage, state.tolerated_failure_percentage_path
    percentage = _compile_bound(state, field, path, "ToleratedFailurePercentage", limits, whole=False)

    def tolerance(value: JSONValue, context: Context) -> Tolerance:
        share = None if percentage is None else percentage(value, context)
        if share is not None and not 0 <= share <= 100:
            if state.query_language == "JSONata":
                raise out_of_range(share, "ToleratedFailurePercentage", 0, 100)
            raise StateError("States.Runtime", "ToleratedFailurePercentage must be between 0 and 100.")
        return Tolerance(None if count is None else int(count(value, context)), share)

    return tolerance


def _compile_bound(
    state: model.Map, literal: model.Optional, path: str | None, field: str, limits: Limits, *, whole: bool = True
) -> Number | None:
    """Compile a bound that is not negative; by a path it may also be a number in a string."""
    number = (
        compile_number(state, literal, None, field, limits, whole=whole)
        if path is None
        else compile_number_at(path, field, compile_path(path, limits=limits), whole=whole)
    )
    if number is None or not whole:
        return number

    def bound(value: JSONValue, context: Context) -> float:
        found = number(value, context)
        if found < 0:
            if state.query_language == "JSONata":
                raise out_of_range(found, field, 0)
            raise StateError("States.Runtime", f"{field} cannot be negative.")
        return found

    return bound
