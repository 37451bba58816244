"""Which URL becomes which repository, what is refused, and what is not imported on the way."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest

from statechain.storage import open as opening
from statechain.storage.open import open_repository


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("memory://", "MemoryRepository"),
        ("sqlite://", "SQLiteRepository"),
        ("sqlite:///shop.db", "SQLiteRepository"),
        ("sqlite+aiosqlite:///shop.db", "SQLiteRepository"),
        ("postgresql://localhost/shop", "PostgresRepository"),
        ("postgres://localhost/shop", "PostgresRepository"),
        ("postgresql+asyncpg://localhost/shop", "PostgresRepository"),
        ("PostgreSQL://localhost/shop", "PostgresRepository"),
    ],
)
def test_built_in_schemes(url: str, name: str) -> None:
    assert type(open_repository(url)).__name__ == name


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="oracle://") as caught:
        open_repository("oracle://scott:tiger@db/shop")
    text = str(caught.value)
    assert all(scheme in text for scheme in ("memory", "sqlite", "sqlite+aiosqlite", "postgresql", "postgres"))
    assert "tiger" not in text
    assert "scott" not in text


@pytest.mark.parametrize("url", ["", "shop.db", "scott:tiger@db/shop", "://tiger", "sqlite:shop.db", "tiger@x://db"])
def test_without_a_scheme_it_says_how_a_url_looks_and_repeats_nothing(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///shop\.db") as caught:
        open_repository(url)
    assert "tiger" not in str(caught.value)


class Elsewhere:
    """A third party's backend, as far as opening goes."""

    def __init__(self, url: str) -> None:
        self.url = url


def test_entry_points_add_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    third_party = ModuleType("third_party")
    third_party.Elsewhere = Elsewhere  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "third_party", third_party)
    point = EntryPoint("elsewhere", "third_party:Elsewhere", opening.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: EntryPoints([point]).select(group=group))
    repository = open_repository("elsewhere://somewhere")
    assert isinstance(repository, Elsewhere)
    assert repository.url == "elsewhere://somewhere"
    with pytest.raises(ValueError, match="elsewhere"):
        open_repository("nowhere://")


def test_a_built_in_scheme_never_scans_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(**_: str) -> EntryPoints:
        raise AssertionError("entry points were scanned")

    monkeypatch.setattr("importlib.metadata.entry_points", scan)
    open_repository("memory://")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for name in [name for name in sys.modules if name.startswith("statechain_backends.postgres.repository")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"^postgresql:// needs asyncpg, .*: pip install asyncpg$") as caught:
        open_repository("postgresql://scott:tiger@localhost/shop")
    assert "tiger" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("statechain_backends", "pip install --force-reinstall statechain$"),
        ("psycopg_or_so", "see its backend's documentation$"),
    ],
)
def test_no_package_is_advised_that_a_stranger_could_register(
    module: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_name: str) -> None:
        raise ModuleNotFoundError(name=f"{module}.sqlite")

    monkeypatch.setattr(opening, "import_module", load)
    with pytest.raises(ImportError, match=advice) as caught:
        open_repository("sqlite://")
    assert f"pip install {module}" not in str(caught.value)


def test_importing_it_loads_no_backend_and_no_driver() -> None:
    program = (
        "import sys, statechain.storage.open\n"
        "heavy = {'statechain_backends', 'asyncpg', 'aiosqlite', 'sqlalchemy', 'alembic'}\n"
        "sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
