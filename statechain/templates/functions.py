"""CloudFormation's functions → values: ``Ref``, ``Fn::Sub``, ``Fn::Join`` and the others that a definition may have.

Names of what is deployed are not known here. A resource has the name that its properties give, else its logical id, so
that the ARN of the function ``Charge`` names the handler ``Charge``; account and region are placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from statechain.asl.substitutions import Substitutions
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue
from statechain.errors import DefinitionError, Diagnostic

__all__ = ["Functions", "error_at", "section"]

Obj: TypeAlias = Mapping[str, JSONValue]

PSEUDO: Final = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/stack/0",
    "AWS::StackName": "stack",
    "AWS::URLSuffix": "amazonaws.com",
}
SUB: Final = re.compile(r"\$\{(?P<literal>!)?\s*(?P<name>[^${}!]+?)\s*\}")
MOST_VALUES: Final = 100_000
"""How many values may be evaluated, shared ones counted each time."""

NAMES: Final = {
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Serverless::Function": "FunctionName",
    "AWS::StepFunctions::Activity": "Name",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
    "AWS::Serverless::StateMachine": "Name",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Serverless::SimpleTable": "TableName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::Events::EventBus": "Name",
}
"""The property that names a resource, by its type."""

ARNS: Final = {
    "AWS::Lambda::Function": "lambda:{place}:function:{name}",
    "AWS::Serverless::Function": "lambda:{place}:function:{name}",
    "AWS::StepFunctions::Activity": "states:{place}:activity:{name}",
    "AWS::StepFunctions::StateMachine": "states:{place}:stateMachine:{name}",
    "AWS::Serverless::StateMachine": "states:{place}:stateMachine:{name}",
    "AWS::DynamoDB::Table": "dynamodb:{place}:table/{name}",
    "AWS::Serverless::SimpleTable": "dynamodb:{place}:table/{name}",
    "AWS::SNS::Topic": "sns:{place}:{name}",
    "AWS::SQS::Queue": "sqs:{place}:{name}",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::Events::EventBus": "events:{place}:event-bus/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
}
ARN_BY_REF: Final = {
    "AWS::StepFunctions::Activity",
    "AWS::StepFunctions::StateMachine",
    "AWS::Serverless::StateMachine",
    "AWS::SNS::Topic",
}
"""The types of which Ref gives the ARN."""


NO_VALUE: Final = "\0AWS::NoValue"
"""Represents AWS::NoValue until the object or array that has it leaves it out."""


def error_at(message: str, pointer: str, code: str = "") -> DefinitionError:
    """Return the error of one place in a template; by itself its code is `template`."""
    found = Diagnostic("template", message, pointer=pointer)
    return DefinitionError([attrs.evolve(found, code=code) if code else found])


def section(value: object, *names: str) -> Obj:
    """Return an object within a template by its keys, or an empty one where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


class Functions:
    """Evaluates the functions in the values of one template.

    Arguments:
        template: The template.

        given: Values of parameters, of pseudo parameters and of anything else that is referred to, by name.

        functions: Functions of a serverless.yml, which are referred to by their own names.
    """

    def __init__(self, template: JSONValue | Obj, given: Substitutions, functions: Obj | None = None) -> None:
        self._template = template
        self._given = given
        self._resources: Obj = {
            **{name: {"Type": "AWS::Lambda::Function", "Properties": {}} for name in functions or {}},
            **section(template, "Resources"),
        }
        self._left = MOST_VALUES
        self._asked: set[str] = set()
        self._functions: Mapping[str, Callable[[JSONValue, str], JSONValue]] = {
            "Ref": self._ref,
            "Condition": self._condition,
            "Fn::And": self._and,
            "Fn::Equals": self._equals,
            "Fn::FindInMap": self._find_in_map,
            "Fn::GetAtt": self._get_att,
            "Fn::If": self._if,
            "Fn::ImportValue": self._import_value,
            "Fn::Join": self._join,
            "Fn::Not": self._not,
            "Fn::Or": self._or,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::Sub": self._sub,
        }

    def value(self, value: JSONValue, pointer: str) -> JSONValue:
        """Return a value with its functions evaluated. Raises DefinitionError."""
        # Shared values are counted each time: aliases of aliases would unfold without end.
        self._left -= 1
        if self._left < 0:
            raise error_at(f"the template comes to more than {MOST_VALUES} values", pointer, "too-large")
        if isinstance(value, list):
            items = [self.value(item, pointer_to(pointer, index)) for index, item in enumerate(value)]
            return [item for item in items if item != NO_VALUE]
        if not isinstance(value, dict):
            return value
        # A function is the only member of its object.
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in self._functions:
                return self._functions[name](argument, pointer_to(pointer, name))
            if name.startswith("Fn::"):
                raise error_at(f"the function {name} is not supported here", pointer)
        members = {key: self.value(item, pointer_to(pointer, key)) for key, item in value.items()}
        return {key: item for key, item in members.items() if item != NO_VALUE}

    def text(self, value: JSONValue, pointer: str) -> str:
        """Return a value that is a string, or is put into one."""
        found = self.value(value, pointer)
        if isinstance(found, bool):
            return str(found).lower()
        if isinstance(found, str | int | float):
            return str(found)
        raise error_at("a string is wanted here", pointer)

    # What is referred to

    def reference(self, name: str, pointer: str) -> JSONValue:
        """Return what Ref gives: a parameter's value, or the name of a resource."""
        if name in self._given:
            return self._given[name]
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in PSEUDO:
            return PSEUDO[name]
        parameter = section(self._template, "Parameters").get(name)
        if isinstance(parameter, dict):
            if "Default" in parameter:
                return parameter["Default"]
            message = f"the parameter {name} has no default, and no value was given for it"
            raise error_at(message, pointer, "missing-substitution")
        if name not in self._resources:
            message = f"there is no parameter and no resource {name}, and no value was given for it"
            raise error_at(message, pointer, "missing-substitution")
        return self.attribute(name, "Arn", pointer) if self._type(name) in ARN_BY_REF else self._name(name)

    def attribute(self, name: str, attribute: str, pointer: str) -> str:
        """Return an attribute of a resource: its ARN, else its name with that of the attribute."""
        whole = f"{name}.{attribute}"
        if whole in self._given:
            return str(self._given[whole])
        if name not in self._resources:
            message = f"there is no resource {name}, and no value was given for {whole}"
            raise error_at(message, pointer, "missing-substitution")
        if attribute in {"Name", "FunctionName", "TopicName", "QueueName"}:
            return self._name(name)
        if attribute not in {"Arn", "StateMachineArn", "TopicArn", "FunctionArn"}:
            return whole
        partition, region, account = (
            self._given.get(each, PSEUDO[each]) for each in ("AWS::Partition", "AWS::Region", "AWS::AccountId")
        )
        service = self._type(name).split("::")[1].lower() if self._type(name).count("::") > 1 else "resource"
        form = ARNS.get(self._type(name), f"{service}:{{place}}:{{name}}")
        place = f"{region}:{account}"
        return f"arn:{partition}:" + form.format(place=place, account=account, name=self._name(name))

    def _type(self, name: str) -> str:
        return str(section(self._resources[name]).get("Type", ""))

    def _name(self, name: str) -> str:
        """Return the name that the properties of a resource give, where it is plain, else its logical id."""
        given = section(self._resources[name], "Properties").get(NAMES.get(self._type(name), ""))
        return given if isinstance(given, str) else name

    # The functions

    def _ref(self, argument: JSONValue, pointer: str) -> JSONValue:
        return self.reference(str(argument), pointer)

    def _get_att(self, argument: JSONValue, pointer: str) -> JSONValue:
        parts = argument.split(".", 1) if isinstance(argument, str) else argument
        if not isinstance(parts, list) or len(parts) != 2:
            raise error_at("Fn::GetAtt takes a resource and an attribute", pointer)
        return self.attribute(str(parts[0]), self.text(parts[1], pointer), pointer)

    def _sub(self, argument: JSONValue, pointer: str) -> JSONValue:
        text: JSONValue = argument
        values: Obj = {}
        if isinstance(argument, list) and len(argument) == 2:
            text, values = argument[0], section(argument[1])
        if not isinstance(text, str):
            raise error_at("Fn::Sub takes a string, or a string and an object", pointer)
        # Evaluated first: their values are put in, and are not searched for names.
        own = {name: self.text(value, pointer_to(pointer_to(pointer, 1), name)) for name, value in values.items()}
        return SUB.sub(lambda found: self._sub_one(found, own, pointer), text)

    def _sub_one(self, found: re.Match[str], own: Mapping[str, str], pointer: str) -> str:
        name = found["name"]
        if found["literal"]:
            return f"${{{name}}}"
        if name in own:
            return own[name]
        resource, dot, attribute = name.partition(".")
        return self.attribute(resource, attribute, pointer) if dot else self.text({"Ref": name}, pointer)

    def _join(self, argument: JSONValue, pointer: str) -> JSONValue:
        if not isinstance(argument, list) or len(argument) != 2:
            raise error_at("Fn::Join takes a delimiter and a list", pointer)
        items = self.value(argument[1], pointer_to(pointer, 1))
        if not isinstance(items, list):
            raise error_at("Fn::Join takes a delimiter and a list", pointer)
        at = pointer_to(pointer, 1)
        return str(argument[0]).join(self.text(item, pointer_to(at, index)) for index, item in enumerate(items))

    def _select(self, argument: JSONValue, pointer: str) -> JSONValue:
        found = self.value(argument, pointer)
        if isinstance(found, list) and len(found) == 2 and isinstance(found[1], list):
            index = str(found[0])
            if index.isdigit() and int(index) < len(found[1]):
                return found[1][int(index)]
        raise error_at("Fn::Select takes a list, and an index that is within it", pointer)

    def _split(self, argument: JSONValue, pointer: str) -> JSONValue:
        if not isinstance(argument, list) or len(argument) != 2 or not argument[0]:
            raise error_at("Fn::Split takes a delimiter and a string", pointer)
        return list(self.text(argument[1], pointer_to(pointer, 1)).split(str(argument[0])))

    def _find_in_map(self, argument: JSONValue, pointer: str) -> JSONValue:
        keys = [self.text(key, pointer) for key in argument[:3]] if isinstance(argument, list) else []
        found: JSONValue = {**section(self._template, "Mappings")}
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if len(keys) < 3 or found is None:
            raise error_at(f"there is nothing in Mappings under {'/'.join(keys)}", pointer)
        return found

    def _import_value(self, argument: JSONValue, pointer: str) -> JSONValue:
        name = self.text(argument, pointer)
        if name not in self._given:
            message = f"no value was given for what Fn::ImportValue imports, {name}"
            raise error_at(message, pointer, "missing-substitution")
        return self._given[name]

    # Conditions

    def _if(self, argument: JSONValue, pointer: str) -> JSONValue:
        if not isinstance(argument, list) or len(argument) != 3:
            raise error_at("Fn::If takes a condition and two values", pointer)
        place = 1 if self._condition(argument[0], pointer) else 2
        return self.value(argument[place], pointer_to(pointer, place))

    def _condition(self, name: JSONValue, pointer: str) -> bool:
        conditions = section(self._template, "Conditions")
        if not isinstance(name, str) or name not in conditions:
            raise error_at(f"there is no condition {name}", pointer)
        # Conditions may refer to each other, in a circle too.
        if name in self._asked:
            raise error_at(f"the condition {name} depends on itself", pointer)
        self._asked.add(name)
        try:
            return self.value(conditions[name], f"/Conditions/{name}") is True
        finally:
            self._asked.discard(name)

    def _equals(self, argument: JSONValue, pointer: str) -> JSONValue:
        if not isinstance(argument, list) or len(argument) != 2:
            raise error_at("Fn::Equals takes two values", pointer)
        return self.text(argument[0], pointer) == self.text(argument[1], pointer)

    def _all(self, argument: JSONValue, pointer: str) -> list[bool]:
        found = self.value(argument, pointer)
        return [item is True for item in found] if isinstance(found, list) else []

    def _and(self, argument: JSONValue, pointer: str) -> JSONValue:
        return all(self._all(argument, pointer))

    def _or(self, argument: JSONValue, pointer: str) -> JSONValue:
        return any(self._all(argument, pointer))

    def _not(self, argument: JSONValue, pointer: str) -> JSONValue:
        return not any(self._all(argument, pointer))
