"""How the site is built: `python -m sphinx -W -b html docs build/site`."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # site_checks, and the tests that it asks

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow tells of itself on stderr

project = "gradcorr_fast"
author = "The gradcorr_fast developers"
project_copyright = "2026, the gradcorr_fast developers"
release = version_of("gradcorr-fast")
version = release

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "site_checks",
]
exclude_patterns = ["_build"]
nitpicky = False  # types in numpydoc are words, not references; links between pages are checked all the same

html_theme = "furo"
html_title = "gradcorr_fast"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
smartquotes = False  # which make a dash of --option
copybutton_exclude = ".linenos, .gp, .go"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "cache"  # notebooks are run when the site is built, and their outputs are in no commit
nb_execution_timeout = 90
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections say them, in words
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
