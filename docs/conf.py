"""How the manual is built: see `make docs`."""

from typing import Any

from bpm import __version__ as release

project = "bpm"
author = "the founders of bpm"
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["example", "decisions/README.md"]
html_theme = "furo"
html_title = f"bpm {release}"

# Headings are anchors, as on the pages of a repository.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autoclass_content = "class"
napoleon_use_rtype = False
napoleon_use_ivar = True
# Fields are documented by their class, under Args.
autodoc_default_options = {"members": True, "inherited-members": False, "undoc-members": False}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100


def setup(app: Any) -> None:
    """Show defaults that are made anew each time as what they are for a reader: some default."""

    def name_defaults(*event: Any) -> tuple[str, str] | None:
        signature, returned = event[5:]
        return (signature.replace("NOTHING", "..."), returned) if signature else None

    app.connect("autodoc-process-signature", name_defaults)
