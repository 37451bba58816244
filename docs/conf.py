"""The documentation's configuration: `sphinx-build -W docs docs/_build`."""

from importlib.metadata import version as version_of

project = "statechain"
author = "The statechain maintainers"
copyright = author  # noqa: A001 -- Sphinx's name
release = version_of("statechain")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"statechain {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_use_ivar = True
# Single backquotes in docstrings name code.
default_role = "code"
