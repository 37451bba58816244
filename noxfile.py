"""What is run over the project, each in an environment of its own; `.ci/run` runs the same checks in one."""

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typing", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
PARALLEL = ("-n", "auto", "--dist", "worksteal")
FREE_THREADED = "3.14t"
WHEELS = [
    *(("3.13", f"{machine}-{system}") for machine in ("x86_64", "aarch64") for system in (
        "manylinux2014",
        "manylinux_2_28",
        "pc-windows-msvc",
    )),
    ("3.13", "x86_64-unknown-linux-musl"),
    ("3.13", "aarch64-apple-darwin"),
    ("3.15", "x86_64-manylinux_2_28"),
    (FREE_THREADED, "manylinux_2_28_x86_64"),
]  # fmt: skip
"""The interpreters and platforms on which a plain install compiles nothing."""

QUICK = "quick"


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on the installed package; arguments go to pytest."""
    session.install(".[test]")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(python=FREE_THREADED)
def free_threaded(session: nox.Session) -> None:
    """Run the inner loop without the global interpreter lock, with what has wheels for it."""
    session.install(".[cli,typed]", "botocore>=1.40", "httpx", "hypothesis", "jsonschema", "pytest>=8.4")
    session.install("pytest-asyncio>=1.1", "pytest-timeout>=2.4", "starlette", "opentelemetry-sdk")
    session.run("pytest", "-m", QUICK, "tests/asl", "tests/storage", "tests/test_codec.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, and that imports point one way."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types, strictly: the library, the files that only show types, and the Python of every page of the docs."""
    session.install("-e", ".[test]", *group("typing"))
    session.run("mypy")
    session.run("mypy", "tests/typing")
    session.run("pyright")
    session.run("pytest", "tests/docs/test_types.py")


@nox.session
def quick(session: nox.Session) -> None:
    """Run the inner loop: no kills, no PostgreSQL, no pages; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", *PARALLEL, "-m", QUICK, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure how much of the code the tests reach, faults apart."""
    session.install("-e", ".[test]")
    session.run(
        "pytest",
        *PARALLEL,
        "-m",
        "not faults and not docs",
        "--cov",
        "--cov-report=term:skip-covered",
        *session.posargs,
    )


@nox.session
def browser(session: nox.Session) -> None:
    """Run the console in the Chromium of this machine (Debian: apt-get install chromium); arguments go to pytest."""
    session.install(".[test,browser]")
    session.run("pytest", "tests/console/browser", *session.posargs, env={"STATECHAIN_REQUIRE_CHROMIUM": "1"})


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, keep and draw what came out; `--postgres URL` adds PostgreSQL, `--size tiny` is short."""
    session.install(".[bench]")
    session.run("python", "benchmarks/report.py", *session.posargs)


@nox.session
def bench_peers(session: nox.Session) -> None:
    """Run the benchmarks with the peers, all in this environment."""
    session.install(
        "absurd-sdk>=0.5",
        "absurdctl>=0.5",
        "dbos>=3.4",
        "langgraph>=1.2",
        "langgraph-checkpoint-postgres>=3.2",
        "langgraph-checkpoint-sqlite>=3.1",
        "psycopg[binary]>=3.3",
        "python-statemachine>=3.2",
        "transitions>=0.9.3",
        ".[bench]",
    )
    session.run("python", "benchmarks/report.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the docs, strictly, and run the Python of the README and of every page."""
    session.install(".[docs]")  # alone first: that is what Read the Docs installs
    session.run("sphinx-build", "-W", "--keep-going", "-q", "docs", "docs/_build")
    session.install(".[test]")
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def sdist(session: nox.Session) -> None:
    """Build the sdist, unpack it, install the library from it, and run the inner loop and the pages from there."""
    session.install("build")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--sdist", "--outdir", str(folder), ".", silent=True)
    (archive,) = sorted(folder.glob("*.tar.gz"))
    session.run("python", "-m", "tarfile", "-e", str(archive), str(folder))
    session.chdir(folder / archive.name.removesuffix(".tar.gz"))
    session.install(".[test]")
    # nox keeps temporary files inside the environment, where the workers of Ray refuse to start.
    session.run("pytest", *PARALLEL, "-m", "not faults and not postgres", *session.posargs, env={"TMPDIR": None})


@nox.session
def wheels(session: nox.Session) -> None:
    """Resolve a plain install by wheels alone, for ten platforms; it fails where one would have to be compiled."""
    session.install(*group("wheels"))
    requirements = Path(session.create_tmp()) / "requirements.txt"
    requirements.write_text("\n".join(PROJECT["project"]["dependencies"]), encoding="utf-8")
    for python, platform in WHEELS:
        session.log(f"Python {python}, {platform}")
        if python == FREE_THREADED:  # of which uv's resolver does not know without an interpreter
            target = ("--implementation", "cp", "--abi", "cp314t", "--python-version", "3.14", "--platform", platform)
            where = ("--target", str(requirements.parent / "none"))
            wanted = ("--only-binary=:all:", "--dry-run", "--ignore-installed", "-r", str(requirements))
            session.run("python", "-m", "pip", "install", "-q", *target, *where, *wanted)
        else:
            target = ("--python-version", python, "--python-platform", platform, "--only-binary", ":all:")
            session.run("uv", "pip", "compile", "-q", *target, str(requirements), silent=True)


@nox.session(python=PYTHONS)
def release(session: nox.Session) -> None:
    """Build and check sdist and wheel, install the wheel alone into an empty environment, and run the quick start.

    An argument is the folder for what was built; a tag that the environment names must be that of the version.
    """
    tag = os.environ.get("GITHUB_REF_NAME", "") if os.environ.get("GITHUB_REF_TYPE") == "tag" else ""
    if tag and tag != f"v{PROJECT['project']['version']}":
        session.error(f"the tag {tag} is not that of version {PROJECT['project']['version']}")
    session.install(*group("release"))
    folder = Path(session.posargs[0] if session.posargs else session.create_tmp()).absolute()
    session.run("python", "-m", "build", "--outdir", str(folder), ".", silent=True)
    (wheel,) = sorted(folder.glob("*.whl"))
    session.run("twine", "check", "--strict", str(wheel), *map(str, folder.glob("*.tar.gz")))
    place = Path(session.create_tmp()).absolute()
    empty = place / "empty"
    session.run("python", "-m", "venv", "--clear", str(empty))
    python = str(empty / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "-q", str(wheel), external=True)
    readme = Path("README.md").read_text(encoding="utf-8")
    program = readme.split("```python\n", 1)[1].split("```", 1)[0]
    session.chdir(place)
    for url in ("memory://", "sqlite:///release.db"):
        session.run(python, "-W", "error", "-c", program.replace("sqlite:///shop.db", url), external=True)


@nox.session
def faults(session: nox.Session) -> None:
    """Prove the guarantees at full size: kills, cuts, cancellations, full disks, races, fuzz, models (hours)."""
    session.install(".[test]")
    session.run("pytest", "tests/faults", "tests/model", "--full", *session.posargs)


@nox.session
def properties(session: nox.Session) -> None:
    """Try 1,000 examples for each property, other ones at each run; CI tries 40, always the same."""
    session.install(".[test]")
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *session.posargs, env={"HYPOTHESIS_PROFILE": "full"})


@nox.session
def mutants(session: nox.Session) -> None:
    """Change the write path, the runtime and chaining line by line, and see that a test fails for each (hours)."""
    session.install(".[test]", "mutmut>=3.8")
    session.run("mutmut", "run", "--max-children", "2", *session.posargs)
    session.run("mutmut", "results")


@nox.session
def demo(session: nox.Session) -> None:
    """Play the batch example, on SQLite or on what DATABASE_URL names."""
    session.install(".")
    session.run("python", "examples/batch_chained_execution.py")
