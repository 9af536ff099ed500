"""The documentation site: ``sphinx-build -W -b html docs out/docs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from notebook_runs import outputs_folder  # noqa: E402

import gac_ref  # noqa: E402

project = "gac-ref"
author = "The gac-ref authors"
copyright = "the gac-ref authors, Apache-2.0"
version = release = gac_ref.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.katex",
    "katex_server",
    "aligned_math",
    "generated",
    "paper_figure",
    "plain_constants",
    "public_names",
    "site_assets",
    "notebook_runs",
]
root_doc = "index"
exclude_patterns = ["conf.py", "_ext/**", "_static/**", "**/.ipynb_checkpoints", "**/_*.py"]
exclude_patterns += ["tutorial/notebooks/*.ipynb"]  # what `make notebooks` makes of the texts
highlight_language = "none"  # a block that names no language is a command or a picture of files
default_role = "literal"  # docstrings name fields and files in single backticks
nitpicky = False
templates_path: list[str] = []

# Prose. Notebooks are text: docs/tutorial/notebooks leads to notebooks/, where that exists.
myst_enable_extensions = ["dollarmath", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = os.environ.get("GAC_DOCS_NOTEBOOKS", "cache")  # or "off", "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_cache_path = str(outputs_folder(HERE.parent))
nb_execution_excludepatterns: list[str] = []
nb_merge_streams = True  # what a cell prints is one block, however the kernel sent it
smartquotes_action = "D"  # dashes, as in the lists of parameters; quotes stay as typed
suppress_warnings = [
    "misc.highlighting_failure",  # conversations in JSON lines, each line behind < or >
    "ref.python",  # annotations name a class shortly, and two ports may both have it
]

# Reference.
typing_names = ("AnyArray", "ArrayLike", "BoolArray", "FloatArray", "IntArray")
viewcode_follow_imported_members = False  # every name is described where it is defined
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_mock_imports = ["torch", "jax"]
autodoc_type_aliases = {name: name for name in typing_names}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_use_legacy_class_based = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

# Mathematics is rendered while building; an expression that KaTeX cannot read stops the build.
katex_prerender = True
katex_css_path = "katex/katex.min.css"

# Look.
html_theme = "pydata_sphinx_theme"
html_title = "gac-ref"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it would fetch pages, which a browser refuses for files
html_theme_options = {
    "logo": {"text": "gac-ref"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "explorer": [], "index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "explorer": []}
