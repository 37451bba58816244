"""The version of the installed library; read when it is first asked for, since metadata takes milliseconds to load."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("statechain")
