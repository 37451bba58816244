"""The one adapter round the JSONata library: an expression's text → a function of (``$states``, context).

`expression` compiles and words the causes; `engine` is the library, repaired and under a `budget`; `operators` and
`functions` are what it calls; `values` carries JSON in and out. The library is imported with the first expression that
needs it.
"""

from statechain.asl.expressions.jsonata.expression import (
    Evaluate,
    JSONataSyntaxError,
    States,
    compile_jsonata,
    evaluation_failed,
    states_fields_in,
)

__all__ = ["Evaluate", "JSONataSyntaxError", "States", "compile_jsonata", "evaluation_failed", "states_fields_in"]
