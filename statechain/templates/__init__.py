"""Templates of SAM, CloudFormation and the Serverless Framework → the state machines that are defined in them.

`text` reads a template with its tags, `functions` evaluates what is in its values (`Ref`, `Fn::Sub` …), `serverless`
the variables of a serverless.yml, and `machines` finds the definitions. Files are read by a function that the caller
gives.
"""

from statechain.templates.machines import TemplateMachine, find_machines

__all__ = ["TemplateMachine", "find_machines"]
