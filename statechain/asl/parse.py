"""Value → model, one function per state type, collecting every error instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, cast

from statechain.asl import model
from statechain.asl.distributed import item_batcher, item_reader, label, refuse_inline, result_writer
from statechain.asl.expressions.choice import parse_timestamp
from statechain.asl.grammar import MAX_NAME, PARTS
from statechain.asl.model import ABSENT, QueryLanguage
from statechain.asl.reader import Obj, Reader, hint, is_expression
from statechain.asl.rules import choice_rule
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue
from statechain.errors import Diagnostic

__all__ = ["parse"]

PROCESSORS: Final = ("/ItemProcessor", "/Iterator")
SUFFIXES: Final = (".json", ".yaml", ".yml", ".asl")


def parse(value: JSONValue) -> tuple[model.StateMachine | None, list[Diagnostic]]:
    """Return the model of a definition and every error of form; the model is None where it could not be made."""
    parser = _Parser()
    if not isinstance(value, dict):
        is_path = isinstance(value, str) and value.endswith(SUFFIXES)
        meant = f": to read a file, give Path({value!r})" if is_path else ""
        parser.report("wrong-type", f"a definition is an object{meant}", "")
        return None, parser.diagnostics
    return parser.machine(value, ""), parser.diagnostics


class _Parser(Reader):
    """Reads machines and states."""

    # Machines

    def __init__(self) -> None:
        super().__init__()
        self._language: QueryLanguage = "JSONPath"

    def machine(self, value: Obj, pointer: str) -> model.StateMachine:
        """Read a whole definition, or below it a branch or a processor, whose states take the definition's language."""
        part = PARTS["Machine" if not pointer else "Processor" if pointer.endswith(PROCESSORS) else "Branch"]
        self.part(value, part, self._language, pointer)
        # Below the top only states set a language, for themselves.
        if not pointer:
            self._language = self.language(value, pointer)
        start_at = self.required_text(value, "StartAt", pointer, "a state machine")
        if "States" not in value:
            self.report("missing-field", "a state machine needs the field 'States'", pointer)
        states: dict[str, model.State] = {}
        members: Obj = self.typed(value, "States", dict, pointer, "an object") or {}
        if value.get("States") == {}:
            self.report("no-states", "a state machine has at least one state", pointer_to(pointer, "States"))
        for name, state in members.items():
            parsed = self.state(name, state, pointer_to(pointer_to(pointer, "States"), name))
            if parsed is not None:
                states[name] = parsed
        # Only the whole machine has one; branches and processors have none.
        timeout = ABSENT if pointer else self.number(value, part.fields["TimeoutSeconds"], pointer, self._language)
        return model.StateMachine(
            pointer=pointer,
            start_at=start_at,
            states=states,
            query_language=self._language,
            comment=self.text(value, "Comment", pointer),
            version=self.text(value, "Version", pointer),
            timeout_seconds=timeout if isinstance(timeout, int) else None,
        )

    def language(self, value: Obj, pointer: str) -> QueryLanguage:
        """Return the query language in force; a JSONata definition has no JSONPath states."""
        found = value.get("QueryLanguage", self._language)
        if found not in ("JSONPath", "JSONata"):
            message = "QueryLanguage is 'JSONPath' or 'JSONata'"
            self.report("wrong-value", message, pointer_to(pointer, "QueryLanguage"))
            return self._language
        if self._language == "JSONata" and found == "JSONPath":
            message = "a JSONata definition has no JSONPath states: set QueryLanguage state by state instead"
            self.report("mixed-query-languages", message, pointer_to(pointer, "QueryLanguage"))
        return "JSONata" if found == "JSONata" else "JSONPath"

    def state(self, name: str, value: JSONValue, pointer: str) -> model.State | None:
        """Read a state by its type."""
        if not isinstance(value, dict):
            self.report("wrong-type", "a state is an object", pointer)
            return None
        if not 1 <= len(name) <= MAX_NAME:
            self.report("state-name", f"a state's name has 1 to {MAX_NAME} characters", pointer)
        type_ = self.required_text(value, "Type", pointer, "a state")
        if type_ not in STATES:
            if type_:
                message = f"there is no state type {type_!r}{hint(type_, STATES)}"
                self.report("unknown-type", message, pointer_to(pointer, "Type"))
            return None
        language = self.language(value, pointer)
        self.part(value, PARTS[type_], language, pointer)
        base = {
            "name": name,
            "pointer": pointer,
            "query_language": language,
            "comment": self.text(value, "Comment", pointer),
            "input_path": self.path(value, "InputPath", pointer),
            "output_path": self.path(value, "OutputPath", pointer),
            "output": value.get("Output", ABSENT),
            "assign": self.assign(value, pointer),
        }
        return STATES[type_](self, value, pointer, base)

    def flow(self, value: Obj, pointer: str) -> str | None:
        """Return Next, or None for End."""
        if "Next" in value and "End" in value:
            self.report("exclusive-fields", "a state has Next or End, not both", pointer)
        if "Next" in value:
            return self.text(value, "Next", pointer)
        if self.typed(value, "End", bool, pointer, "true") is not True:
            if "End" not in value:
                self.report("missing-field", "a state needs Next, or End as true", pointer)
            elif value["End"] is False:
                self.report("wrong-value", "End must be true; to go on, give Next", pointer_to(pointer, "End"))
        return None

    # Errors

    def working(self, value: Obj, pointer: str, language: QueryLanguage) -> dict[str, Any]:
        """Return what Task, Parallel and Map have in common."""
        return {
            "next": self.flow(value, pointer),
            "parameters": value.get("Parameters", ABSENT),
            "arguments": value.get("Arguments", ABSENT),
            "result_selector": value.get("ResultSelector", ABSENT),
            "result_path": self.path(value, "ResultPath", pointer),
            "retry": self.each(value, "Retry", pointer, self.retrier),
            "catch": self.each(value, "Catch", pointer, lambda item, at: self.catcher(item, at, language)),
        }

    def errors(self, value: Obj, pointer: str, what: str) -> tuple[str, ...]:
        """Return the names of ErrorEquals."""
        names = self.typed(value, "ErrorEquals", list, pointer, "an array of error names")
        if not names:
            if "ErrorEquals" not in value or names == []:
                self.report("missing-field", f"{what} needs at least one name in ErrorEquals", pointer)
            return ()
        if not all(isinstance(name, str) for name in names):
            self.report("wrong-type", "ErrorEquals holds strings", pointer_to(pointer, "ErrorEquals"))
        return tuple(str(name) for name in names)

    def retrier(self, value: Obj, pointer: str) -> model.Retrier:
        """Read a Retrier."""
        part = PARTS["Retrier"]
        self.part(value, part, self._language, pointer)
        names = ("IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds")
        numbers = (self.number(value, part.fields[name], pointer, self._language) for name in names)
        interval, attempts, rate, longest = numbers
        jitter = value.get("JitterStrategy", "NONE")
        if jitter not in ("FULL", "NONE"):
            self.report("wrong-value", "JitterStrategy is 'FULL' or 'NONE'", pointer_to(pointer, "JitterStrategy"))
        # ASL's defaults: after 1 second, 3 times, each pause twice as long.
        interval_seconds = 1 if interval is ABSENT else cast("float", interval)
        if longest is not ABSENT and cast("float", longest) <= interval_seconds:
            message = "MaxDelaySeconds must be greater than IntervalSeconds"
            self.report("out-of-range", message, pointer_to(pointer, "MaxDelaySeconds"))
        return model.Retrier(
            error_equals=self.errors(value, pointer, "a Retrier"),
            interval_seconds=interval_seconds,
            max_attempts=3 if attempts is ABSENT else cast("int", attempts),
            backoff_rate=2.0 if rate is ABSENT else cast("float", rate),
            max_delay_seconds=None if longest is ABSENT else cast("float", longest),
            jitter_strategy=cast("Literal['FULL', 'NONE']", jitter),
        )

    def catcher(self, value: Obj, pointer: str, language: QueryLanguage) -> model.Catcher:
        """Read a Catcher."""
        self.part(value, PARTS["Catcher"], language, pointer)
        return model.Catcher(
            error_equals=self.errors(value, pointer, "a Catcher"),
            next=self.required_text(value, "Next", pointer, "a Catcher"),
            result_path=self.path(value, "ResultPath", pointer),
            output=value.get("Output", ABSENT),
            assign=self.assign(value, pointer),
        )


# State types

Base: TypeAlias = dict[str, Any]


def _task(parser: _Parser, value: Obj, pointer: str, base: Base) -> model.State:
    language = base["query_language"]
    fields = PARTS["Task"].fields
    if value.get("Resource") == "":
        parser.report("wrong-value", "Resource must not be empty", pointer_to(pointer, "Resource"))
    return model.Task(
        **base,
        **parser.working(value, pointer, language),
        resource=parser.required_text(value, "Resource", pointer, "a Task state"),
        timeout_seconds=parser.number(value, fields["TimeoutSeconds"], pointer, language),
        timeout_seconds_path=parser.text(value, "TimeoutSecondsPath", pointer),
        heartbeat_seconds=parser.number(value, fields["HeartbeatSeconds"], pointer, language),
        heartbeat_seconds_path=parser.text(value, "HeartbeatSecondsPath", pointer),
        credentials=_credentials(parser, value, pointer, language),
    )


def _credentials(parser: _Parser, value: Obj, pointer: str, language: QueryLanguage) -> model.Optional:
    found = value.get("Credentials", ABSENT)
    if isinstance(found, str) and language == "JSONata" and is_expression(found):
        return found
    return ABSENT if found is ABSENT else parser.typed(value, "Credentials", dict, pointer, "an object") or {}


def _pass(parser: _Parser, value: Obj, pointer: str, base: Base) -> model.State:
    return model.Pass(
        **base,
        next=parser.flow(value, pointer),
        result=value.get("Result", ABSENT),
        result_path=parser.path(value, "ResultPath", pointer),
        parameters=value.get("Parameters", ABSENT),
    )


def _choice(parser: _Parser, value: Obj, pointer: str, base: Base) -> model.State:
    if not value.get("Choices"):
        parser.report("missing-field", "a Choice state needs at least one rule in Choices", pointer)
    language = base["query_language"]
    choices = parser.each(value, "Choices", pointer, lambda item, at: choice_rule(parser, item, at, language))
    return model.Choice(**base, choices=choices, default=parser.text(value, "Default", pointer))


def _wait(parser: _Parser, value: Obj, pointer: str, base: Base) -> model.State:
    language = base["query_language"]
    return model.Wait(
        **base,
        next=parser.flow(value, pointer),
        seconds=parser.number(value, PARTS["Wait"].fields["Seconds"], pointer, language),
        seconds_path=parser.text(value, "SecondsPath", pointer),
        timestamp=_timestamp(parser, value, pointer, language),
        timestamp_path=parser.text(value, "TimestampPath", pointer),
    )


def _timestamp(parser: _Parser, value: Obj, pointer: str, language: QueryLanguage) -> model.Optional:
    if "Timestamp" not in value:
        return ABSENT
    found = parser.text(value, "Timestamp", pointer)
    if found is not None and not (language == "JSONata" and is_expression(found)) and parse_timestamp(found) is None:
        message = "Timestamp is a moment such as 2024-08-18T17:33:00Z"
        parser.report("wrong-value", message, pointer_to(pointer, "Timestamp"))
    return found


def _succeed(_parser: _Parser, _value: Obj, _pointer: str, base: Base) -> model.State:
    return model.Succeed(**base)


def _fail(parser: _Parser, value: Obj, pointer: str, base: Base) -> model.State:
    return model.Fail(
        **base,
        error=ABSENT if "Error" not in value else parser.text(value, "Error", pointer) or "",
        error_path=parser.text(value, "ErrorPath", pointer),
        cause=ABSENT if "Cause" not in value else parser.text(value, "Cause", pointer) or "",
        cause_path=parser.text(value, "CausePath", pointer),
    )


def _parallel(parser: _Parser, value: Obj, pointer: str, base: Base) -> model.State:
    language = base["query_language"]
    if not value.get("Branches"):
        parser.report("missing-field", "a Parallel state needs at least one branch in Branches", pointer)
    return model.Parallel(
        **base,
        **parser.working(value, pointer, language),
        branches=parser.each(value, "Branches", pointer, parser.machine),
    )


def _map(parser: _Parser, value: Obj, pointer: str, base: Base) -> model.State:
    language = base["query_language"]
    fields = PARTS["Map"].fields
    processor = _item_processor(parser, value, pointer)
    if processor.mode == "INLINE":
        refuse_inline(parser, value, pointer, language)
    return model.Map(
        **base,
        **parser.working(value, pointer, language),
        item_processor=processor,
        items_path=_items_path(parser, value, pointer),
        items=_items(parser, value, pointer),
        item_selector=value.get("ItemSelector", ABSENT),
        max_concurrency=parser.number(value, fields["MaxConcurrency"], pointer, language),
        max_concurrency_path=parser.text(value, "MaxConcurrencyPath", pointer),
        tolerated_failure_count=parser.number(value, fields["ToleratedFailureCount"], pointer, language),
        tolerated_failure_count_path=parser.text(value, "ToleratedFailureCountPath", pointer),
        tolerated_failure_percentage=parser.number(value, fields["ToleratedFailurePercentage"], pointer, language),
        tolerated_failure_percentage_path=parser.text(value, "ToleratedFailurePercentagePath", pointer),
        label=label(parser, value, pointer),
        item_reader=item_reader(parser, value, pointer, language),
        item_batcher=item_batcher(parser, value, pointer, language),
        result_writer=result_writer(parser, value, pointer, language),
    )


def _items(parser: _Parser, value: Obj, pointer: str) -> model.Optional:
    found = value.get("Items", ABSENT)
    if found is ABSENT or isinstance(found, list | dict) or (isinstance(found, str) and is_expression(found)):
        return found
    message = "Items must be an array, an object, or a JSONata expression in {% %}"
    parser.report("wrong-type", message, pointer_to(pointer, "Items"))
    return ABSENT


def _items_path(parser: _Parser, value: Obj, pointer: str) -> model.Optional:
    return ABSENT if "ItemsPath" not in value else parser.text(value, "ItemsPath", pointer) or ABSENT


def _item_processor(parser: _Parser, value: Obj, pointer: str) -> model.ItemProcessor:
    key = "ItemProcessor" if "ItemProcessor" in value else "Iterator"
    at = pointer_to(pointer, key)
    found = parser.typed(value, key, dict, pointer, "an object") or {}
    config = parser.typed(found, "ProcessorConfig", dict, at, "an object") or {}
    config_at = pointer_to(at, "ProcessorConfig")
    parser.part(config, PARTS["ProcessorConfig"], "JSONPath", config_at)
    mode, type_ = config.get("Mode", "INLINE"), config.get("ExecutionType")
    if mode not in ("INLINE", "DISTRIBUTED"):
        parser.report("wrong-value", "Mode is 'INLINE' or 'DISTRIBUTED'", pointer_to(config_at, "Mode"))
    if mode == "INLINE" and "ExecutionType" in config:
        message = "ExecutionType is for a distributed Map: in an inline one an item is part of the execution"
        parser.report("distributed-only", message, pointer_to(config_at, "ExecutionType"))
    elif mode == "DISTRIBUTED" and "ExecutionType" not in config:
        parser.report("missing-field", "a distributed Map needs ExecutionType: 'STANDARD' or 'EXPRESS'", config_at)
    elif "ExecutionType" in config and type_ not in ("STANDARD", "EXPRESS"):
        parser.report("wrong-value", "ExecutionType is 'STANDARD' or 'EXPRESS'", pointer_to(config_at, "ExecutionType"))
    return model.ItemProcessor(
        machine=parser.machine(found, at),
        # A wrong mode was noted above: the model is then never used.
        mode=cast("Literal['INLINE', 'DISTRIBUTED']", mode),
        execution_type=cast("Literal['STANDARD', 'EXPRESS'] | None", type_),
    )


STATES: Final[dict[str, Callable[[_Parser, Obj, str, Base], model.State]]] = {
    "Task": _task,
    "Pass": _pass,
    "Choice": _choice,
    "Wait": _wait,
    "Succeed": _succeed,
    "Fail": _fail,
    "Parallel": _parallel,
    "Map": _map,
}
