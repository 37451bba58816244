"""Every limit that guards the process, with AWS's figure where AWS has one.

A limit is data: the code that enforces it reads it here and raises the error that its comment names.
"""

from __future__ import annotations

from typing import Final

import attrs

from statechain.arguments import COUNT, SECONDS, Argument, count_from

__all__ = ["DEFAULT_LIMITS", "Limits"]

KIB = 1024

_BY_TYPE: Final[dict[str, Argument]] = {"int": COUNT, "float": SECONDS, "float | None": SECONDS.or_none()}
# Without a thread no plain handler would ever begin.
_ARGUMENTS: Final[dict[str, Argument]] = {"handler_threads": count_from(1)}


@attrs.frozen(kw_only=True)
class Limits:
    """The limits of one engine; ``Engine(limits=Limits(payload_bytes=…))`` replaces any of them.

    Attributes:
        payload_bytes: The size of one input or output as UTF-8 JSON (States.DataLimitExceeded).

        payload_depth: How deep arrays and objects may nest in a payload (States.DataLimitExceeded).

        assign_bytes: The size of what one Assign sets, as UTF-8 JSON (States.DataLimitExceeded).

        variables_bytes: The size of all variables that an execution has at a time (States.DataLimitExceeded).

        history_events: How many events one STANDARD execution may have, its end included (States.Runtime).

        transitions: How many states one EXPRESS execution may visit (States.Runtime).

        unwritten_visits: How many visits of pure states one execution may keep before it waits for their write.

        definition_bytes: The size of a definition's text (DefinitionError).

        definition_states: How many states a definition may have, nested ones included (DefinitionError).

        definition_depth: How deep a definition may nest (DefinitionError).

        array_range: How many items States.ArrayRange may make (States.IntrinsicFailure).

        intrinsic_text: How many characters the encoding and hashing intrinsics take (States.IntrinsicFailure).

        jsonata_steps: How many steps one JSONata expression may take; what costs more than a step counts as several
            (States.QueryEvaluationError).

        jsonata_depth: How deep a JSONata expression may recurse (States.QueryEvaluationError).

        path_nodes: How many nodes one JSONPath evaluation may visit (States.Runtime).

        claims: How many workers must have died while an execution was the only suspect that they ran, before it is
            ended (States.Runtime). Before that come the deaths after which it is tried in ever smaller groups.

        suspect_seconds: How long an execution must have been a suspect, besides, before it is ended; time during which
            no worker is alive does not count.

        suspect_backoff_seconds: How long a suspect is left alone after its first death; twice as long after each
            further one.

        suspect_backoff_longest_seconds: The longest that a suspect is left alone.

        recovered: How many executions a worker takes over at most while it runs that many.

        busy: How many executions that have not waited for anything outside yet a worker has, before it claims no more:
            what it could not get on with is left to other workers.

        cause_characters: How many characters of an error's cause are kept.

        handler_threads: How many plain ``def`` handlers run at once; the others wait, before their timeout counts.

        loop_hold_seconds: When the event loop is blocked for longer than this, such as by a handler without an
            ``await``, a log message names what blocks it; None, the default, watches nothing.

        handler_grace_seconds: How long a cancelled handler may take to end, in real time.

        drain_seconds: How long what is left to write may take once an engine is interrupted, in real time. With the
            lease and the connections, leaving takes five seconds more at most.
    """

    # AWS's quota for the input or result of a task, state or execution: 256 KiB as UTF-8.
    payload_bytes: int = 256 * KIB
    payload_depth: int = 200
    # AWS's quotas for variables: 256 KiB in one Assign, 10 MiB in all of an execution.
    assign_bytes: int = 256 * KIB
    variables_bytes: int = 10 * KIB * KIB
    # AWS's quota for STANDARD; on AWS, EXPRESS has no bound, nor a history.
    history_events: int = 25_000
    transitions: int = 1_000_000
    unwritten_visits: int = 500
    # AWS, CreateStateMachine: 1,048,576 characters.
    definition_bytes: int = KIB * KIB
    definition_states: int = 10_000
    definition_depth: int = 200
    # AWS, "Intrinsic functions": 1,000 items of ArrayRange, 10,000 characters to encode or hash.
    array_range: int = 1_000
    intrinsic_text: int = 10_000
    jsonata_steps: int = 400_000
    jsonata_depth: int = 100
    path_nodes: int = 100_000
    claims: int = 5
    suspect_seconds: float = 600.0
    suspect_backoff_seconds: float = 1.0
    suspect_backoff_longest_seconds: float = 60.0
    recovered: int = 10_000
    busy: int = 200
    # AWS's API: a cause has at most 32,768 characters.
    cause_characters: int = 32 * KIB
    handler_threads: int = 40
    loop_hold_seconds: float | None = None
    handler_grace_seconds: float = 5.0
    drain_seconds: float = 5.0

    def __attrs_post_init__(self) -> None:
        """Raise InvalidArgument for a limit that is none."""
        for field in attrs.fields(Limits):
            _ARGUMENTS.get(field.name, _BY_TYPE[str(field.type)]).check(field.name, getattr(self, field.name))

    def cut_off(self, cause: str | None) -> str | None:
        """Return a cause no longer than one may be."""
        return None if cause is None else cause[: self.cause_characters]


DEFAULT_LIMITS = Limits()
