"""The public face: complete, sorted, and cheap to import."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import statechain
import statechain.asl
import statechain.chaining
import statechain.testing
import statechain_backends

HEAVY = (
    "aiosqlite",
    "alembic",
    "anyio",
    "asyncpg",
    "hypothesis",
    "jsonata",
    "jsonpath",
    "pytest",
    "re2",
    "sqlalchemy",
    "sqlite3",
    "statechain_backends",
    "uvloop",
    "yaml",
)
PUBLIC_NAMES = [
    "Batch",
    "BatchExecutionOptions",
    "BatchExecutionResult",
    "BatchNotFound",
    "BatchStatus",
    "BatchStopped",
    "Chained",
    "Clock",
    "DefinitionError",
    "Engine",
    "Execution",
    "ExecutionAlreadyExists",
    "ExecutionFailed",
    "ExecutionFilter",
    "ExecutionHandle",
    "ExecutionNotFound",
    "ExecutionStatus",
    "InputTransformerError",
    "InvalidToken",
    "ItemCounts",
    "JSONInput",
    "JSONValue",
    "LeaseLost",
    "MemoryRepository",
    "PostgresRepository",
    "Repository",
    "RepositoryError",
    "SQLiteRepository",
    "Source",
    "SourceNotFinished",
    "SourceStateNotFound",
    "StateMachine",
    "StateMachineNotFound",
    "StatechainError",
    "TaskContext",
    "TaskError",
    "TaskRegistry",
    "TaskTimedOut",
    "open_repository",
]


def modules() -> list[ModuleType]:
    """Return every module of the library and its backends, but scripts and what needs an extra that is not there."""
    found = [statechain]
    for package in (statechain, statechain_backends):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda _name: None):
            if module.name.rpartition(".")[2] in {"__main__", "env"} or ".versions" in module.name:
                continue
            try:
                found.append(importlib.import_module(module.name))
            except ModuleNotFoundError as fault:
                if str(fault.name).partition(".")[0] in {"statechain", "statechain_backends"}:
                    raise
    return found


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_a_module_says_what_it_exports_and_has_it(module: ModuleType) -> None:
    names = getattr(module, "__all__", None)
    if names is None:
        assert inspect.getsource(module).count("\n") <= 3, "a module with code lists its public names in __all__"
        return
    assert list(names) == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(module, name), f"{module.__name__} has no {name}"


@pytest.mark.parametrize(
    "name", ["chaining.options", "clock", "errors", "records.filters", "records.executions", "storage.repository"]
)
def test_a_module_of_public_classes_exports_all_of_them(name: str) -> None:
    module = importlib.import_module(f"statechain.{name}")
    defined = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert defined - set(module.__all__) <= {"HasId"}


@pytest.mark.parametrize("name", ["MemoryRepository", "PostgresRepository", "SQLiteRepository"])
def test_the_backends_are_importable_where_they_live(name: str) -> None:
    assert name in statechain_backends.__all__
    assert getattr(statechain_backends, name) is getattr(statechain, name)


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_the_documented_names_are_importable_from_the_top(name: str) -> None:
    assert name in statechain.__all__
    assert getattr(statechain, name) is not None


PAGE = Path(__file__).parents[1] / "docs" / "reference" / "api.md"


def test_one_page_lists_what_is_public() -> None:
    listed = set(re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)", PAGE.read_text("utf-8"), flags=re.MULTILINE))
    at_the_top = {name.rpartition(".")[2] for name in listed}
    at_the_top |= {"Observer"}  # with its module, statechain.observers
    assert set(statechain.__all__) <= at_the_top
    for name in listed:
        module = importlib.import_module(name.rpartition(".")[0])
        assert hasattr(module, name.rpartition(".")[2]), f"{name} is on the page and does not exist"


def test_what_public_methods_return_is_public() -> None:
    for name in ("ActivityTask", "BatchHandle", "InputTransformer", "Observer", "ResultStream"):
        assert name in statechain.__all__
        assert getattr(statechain, name) is not None
    assert importlib.import_module("statechain.launcher").Stream is statechain.ResultStream


def test_the_version_is_that_of_the_installed_library() -> None:
    assert statechain.__version__ == version("statechain")


def test_every_error_is_at_the_top_and_of_the_tree() -> None:
    errors = importlib.import_module("statechain.errors")
    for name in errors.__all__:
        assert name in statechain.__all__
        value = getattr(errors, name)
        assert name == "Diagnostic" or issubclass(value, statechain.StatechainError)


def test_an_unknown_name_is_an_attribute_error() -> None:
    for module in (statechain, statechain.asl, statechain.chaining, statechain.testing):
        with pytest.raises(AttributeError, match="Nonsense"):
            _ = module.Nonsense


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_the_library_loads_nothing_heavy() -> None:
    assert loaded_after("import statechain") & set(HEAVY) == set()


def test_importing_the_library_loads_neither_the_language_nor_what_runs() -> None:
    late = {
        "asl.definition",
        "asl.model",
        "chaining.batch",
        "drawing.draw",
        "history.history",
        "observers",
        "storage.journal",
        "storage.writes",
        "worker.supervisor",
    }
    code = "import sys, statechain; print(*(n.removeprefix('statechain.') for n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "engine" in done.stdout.split()
    assert late & set(done.stdout.split()) == set()


def test_drawing_is_loaded_with_the_first_picture() -> None:
    code = """
import sys
from statechain.asl import load
drawn = load({"StartAt": "Only", "States": {"Only": {"Type": "Succeed"}}})
before = "statechain.drawing.draw" in sys.modules
from statechain.drawing import draw_definition
draw_definition(drawn.model, "svg")
print(before, "statechain.drawing.draw" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]


def test_a_clock_for_tests_loads_neither_pytest_nor_a_backend() -> None:
    assert loaded_after("from statechain.testing import VirtualClock") & set(HEAVY) == set()


def test_an_engine_in_memory_loads_no_driver() -> None:
    loaded = loaded_after("import statechain; statechain.Engine('memory://')")
    assert loaded & {"sqlalchemy", "asyncpg", "aiosqlite", "alembic", "sqlite3"} == set()
