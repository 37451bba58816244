"""The documentation's configuration: `sphinx-build -W docs docs/_build`."""

from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

project = "statechain"
author = "The statechain maintainers"
copyright = author  # noqa: A001 -- Sphinx's name
release = version_of("statechain")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"statechain {release}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["pictures.css"]

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
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True


class DarkTwins(SphinxTransform):
    """Show the dark twin of a picture, where there is a file `name-dark` beside it, to readers of the dark theme."""

    default_priority = 200

    def apply(self) -> None:
        """Place the twins."""
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for image in list(self.document.findall(nodes.image)):
            path = Path(image["uri"])
            dark = path.with_stem(f"{path.stem}-dark")
            if (folder / dark).is_file():
                twin = image.deepcopy()
                twin["uri"] = dark.as_posix()
                image["classes"].append("only-light")
                twin["classes"].append("only-dark")
                image.parent.insert(image.parent.index(image) + 1, twin)


def link_names(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Link each name in code type, such as `Engine.get_batch` or `stream_batch()`, to the one object that it names."""
    places: dict[str, set[tuple[str, str]]] = {}
    for full, entry in app.env.domaindata["py"]["objects"].items():
        parts = full.split(".")
        for begin in range(len(parts)):
            places.setdefault(".".join(parts[begin:]), set()).add((entry.docname, entry.node_id))
    for literal in list(doctree.findall(nodes.literal)):
        found = places.get(literal.astext().split("(")[0], set())
        if len(found) != 1 or isinstance(literal.parent, nodes.reference | nodes.title):
            continue
        (target, anchor) = next(iter(found))
        uri = "" if target == page else app.builder.get_relative_uri(page, target)
        link = nodes.reference("", "", internal=True, refuri=f"{uri}#{anchor}")
        literal.replace_self(link)
        link += literal


def setup(app: Sphinx) -> None:
    """Have pictures in both themes, and names linked once all pages are read."""
    app.add_transform(DarkTwins)
    app.connect("doctree-resolved", link_names)
