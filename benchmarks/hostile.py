"""How long hostile inputs hold the event loop: definitions, expressions and payloads at the limits.

Each input runs in an engine in memory, beside a task that asks for the loop again and again; the longest time that it
had to wait is how long the loop was held. On a machine that other processes share, that includes their turns: the
processor time that this process used during one wait does not.
"""

import asyncio
import gc
import json
import time
from collections.abc import Callable
from typing import Any

from measuring.harness import on_loop, parser, settings, show

from statechain import DefinitionError, Engine, Limits, TaskRegistry

TICK = 0.001
MIB = 2**20
PAYLOAD = 250 * 1024
"""Bytes, a little below the limit of a payload."""

Case = tuple[Any, Any, Limits]
"""A definition, an input and the limits of the engine."""


def jsonata(expression: str) -> dict[str, Any]:
    """Return a definition that evaluates one JSONata expression."""
    state = {"Type": "Pass", "Output": f"{{% {expression} %}}", "End": True}
    return {"QueryLanguage": "JSONata", "StartAt": "S", "States": {"S": state}}


def jsonpath(**fields: Any) -> dict[str, Any]:
    """Return a definition that evaluates JSONPath in a Pass state."""
    return {"StartAt": "S", "States": {"S": {"Type": "Pass", **fields, "End": True}}}


def many_states(count: int) -> dict[str, Any]:
    """Return a definition of many states in a row."""
    states: dict[str, Any] = {f"S{place}": {"Type": "Pass", "Next": f"S{place + 1}"} for place in range(count - 1)}
    return {"StartAt": "S0", "States": {**states, f"S{count - 1}": {"Type": "Succeed"}}}


def padded(size: int) -> dict[str, Any]:
    """Return a definition of a given size in bytes, in small parts."""
    result = [[1, 2]] * (size // 6)
    return jsonpath(Result=result)


def rows(count: int) -> list[dict[str, Any]]:
    """Return rows of a table."""
    return [{"id": place, "name": f"row {place}", "tags": ["a", "b"]} for place in range(count)]


def nested(depth: int) -> Any:
    """Return arrays in arrays."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


TEXT = "ab c/é" * (PAYLOAD // 8)
RAISED = Limits(payload_bytes=16 * MIB, path_nodes=10_000_000)
PLAIN = Limits()

CASES: dict[str, Callable[[], Case]] = {
    "definition: JSON text of 1 MiB": lambda: (json.dumps(padded(MIB * 9 // 10), separators=(",", ":")), None, PLAIN),
    "definition: YAML of 1 MiB in flow style": lambda: (
        "# a comment\n" + json.dumps(padded(MIB * 9 // 10), separators=(",", ":")),
        None,
        PLAIN,
    ),
    "definition: a mapping of 1 MiB": lambda: (padded(MIB * 9 // 10), None, PLAIN),
    "definition: 10,000 states": lambda: (many_states(10_000), None, PLAIN),
    "definition: 10,000 states, as text": lambda: (json.dumps(many_states(10_000)), None, PLAIN),
    "JSONata: $encodeUrl in a loop": lambda: (jsonata("$count([1..200].$encodeUrl($$.states.input))"), TEXT, PLAIN),
    "JSONata: $encodeUrl of the input, in a loop": lambda: (
        jsonata("( $t := $states.input; $count($map([1..300], function($i) { $encodeUrl($t) })) )"),
        TEXT,
        PLAIN,
    ),
    "JSONata: $replace by a regex": lambda: (
        jsonata("( $t := $states.input; $length($replace($t, /(a+)b?/, '$1$1')) )"),
        "aab" * (PAYLOAD // 4),
        PLAIN,
    ),
    "JSONata: $string of something big": lambda: (
        jsonata("( $v := $map([1..20000], function($i) { {'a': $i, 'b': [$i, $i]} }); $length($string($v)) )"),
        1,
        PLAIN,
    ),
    "JSONata: filters within filters": lambda: (
        jsonata("$count($states.input[$count($states.input[id > 5][tags[0] = 'a']) > 3])"),
        rows(2_000),
        PLAIN,
    ),
    "JSONata: a cross join": lambda: (
        jsonata("$count($states.input@$a.($states.input@$b.{'a': $a.id, 'b': $b.id}))"),
        rows(2_000),
        PLAIN,
    ),
    "JSONata: a sort by a function": lambda: (
        jsonata("$count($sort([1..50000], function($a, $b) { $a < $b }))"),
        1,
        PLAIN,
    ),
    "JSONata: a sort of numbers": lambda: (jsonata("$count($sort($map([1..200000], function($i) { -$i })))"), 1, PLAIN),
    "JSONata: $join and $split": lambda: (
        jsonata("( $t := $states.input; $count($map([1..100], function($i) { $join($split($t, 'a'), 'b') })) )"),
        "a" * (PAYLOAD // 2),
        PLAIN,
    ),
    "JSONata: an endless recursion": lambda: (jsonata("( $f := function($n) { $f($n + 1) }; $f(0) )"), 1, PLAIN),
    "JSONata: a text that doubles": lambda: (
        jsonata("( $f := function($t, $n) { $n = 0 ? $t : $f($t & $t, $n - 1) }; $length($f('abcdefgh', 40)) )"),
        1,
        PLAIN,
    ),
    "JSONata: a range of millions": lambda: (jsonata("$sum([1..9000000])"), 1, PLAIN),
    "JSONata: $distinct and $merge of the input": lambda: (
        jsonata("( $r := $states.input; $count($distinct($append($r, $r))) )"),
        rows(3_000),
        PLAIN,
    ),
    "JSONPath: a filter over the input": lambda: (jsonpath(InputPath="$..[?(@.id > 5)]"), rows(4_000), PLAIN),
    "JSONPath: a filter within a filter": lambda: (
        jsonpath(InputPath="$[?(@.tags[?(@ == 'a')])]"),
        rows(4_000),
        PLAIN,
    ),
    "JSONPath: a filter over 10 MB (limits raised)": lambda: (
        jsonpath(Parameters={"n.$": "States.ArrayLength($[?(@.id > 5)])"}),
        rows(200_000),
        RAISED,
    ),
    "intrinsics: States.StringSplit by many separators": lambda: (
        jsonpath(Parameters={"n.$": "States.ArrayLength(States.StringSplit($.t, $.s))"}),
        {"t": "ab,c;" * 20_000, "s": "".join(map(chr, range(0x100, 0x100 + 40_000)))},
        PLAIN,
    ),
    "intrinsics: States.ArrayUnique": lambda: (
        jsonpath(Parameters={"n.$": "States.ArrayLength(States.ArrayUnique($))"}),
        rows(4_000),
        PLAIN,
    ),
    "payload: 250 KiB of small numbers": lambda: (jsonpath(Parameters={"n.$": "$"}), [0.1] * (PAYLOAD // 4), PLAIN),
    "payload: 250 KiB nested 150 deep": lambda: (jsonpath(), [nested(150)] * (PAYLOAD // 310), PLAIN),
    "payload: 8 MB (limits raised)": lambda: (jsonpath(Parameters={"n.$": "$"}), rows(150_000), RAISED),
}


WARM = ("JSONata: a range of millions", "JSONPath: a filter within a filter", "definition: YAML of 1 MiB in flow style")


class Watch:
    """Measures how long the event loop does not come round."""

    def __init__(self) -> None:
        self.longest = self.longest_used = 0.0

    async def run(self) -> None:
        """Ask for the loop again and again, until cancelled."""
        last, last_used = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(TICK)
            now, used = time.perf_counter(), time.process_time()
            self.longest = max(self.longest, now - last - TICK)
            self.longest_used = max(self.longest_used, used - last_used)
            last, last_used = now, used


async def measure(case: Case) -> tuple[float, float, float, str]:
    """Return how long the loop was held, the processor time of that, how long it all took, and how it ended."""
    definition, value, limits = case
    gc.collect()
    async with Engine(tasks=TaskRegistry(), limits=limits) as engine:
        watch = Watch()
        watching = asyncio.create_task(watch.run())
        await asyncio.sleep(0.05)
        watch.longest, watch.longest_used, began = 0.0, 0.0, time.perf_counter()
        try:
            machine = await engine.create_state_machine("hostile", definition)
            ended = await (await machine.start_execution(value)).wait()
            how = str(ended.status) if ended.error is None else f"{ended.error}"
        except DefinitionError as refused:
            how = f"refused: {refused.diagnostics[0].code}"
        took = time.perf_counter() - began
        await asyncio.sleep(0.01)
        watching.cancel()
        return watch.longest, watch.longest_used, took, how


def main() -> None:
    """Run the hostile inputs, or those whose name contains a string."""
    options = parser(__doc__)
    options.add_argument("--only", default="", help="the inputs whose name holds this")
    arguments = options.parse_args()
    found = []
    for name in WARM:  # what is loaded when it is first used
        on_loop(measure(CASES[name]()))
    for name, make in CASES.items():
        if arguments.only in name:
            figures = [on_loop(measure(make()), tuned=arguments.tuned) for _ in range(arguments.rounds)]
            held, used, took, how = sorted(figures)[len(figures) // 2]
            times = {"loop held, ms": held, "processor, ms": used, "took, ms": took}
            found.append({"input": name, **{column: round(value * 1e3) for column, value in times.items()}, "end": how})
    show(settings(arguments, None), found, as_json=arguments.json)


if __name__ == "__main__":
    main()
