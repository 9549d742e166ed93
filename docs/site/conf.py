"""Settings of the documentation site: `make docs` builds it with Sphinx.

The root of the repository is the site's source, so that links between pages mean the same here
as on a page that is read as a file. Pages stay where they are; `index.md` puts them in order.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from pumba_pipe import __version__  # noqa: E402

project = 'pumba_pipe'
author = 'The pumba_pipe developers'
version = release = __version__
copyright = 'The pumba_pipe developers; Apache-2.0'

extensions = [
    'myst_nb',  # reads Markdown as myst_parser does, and notebooks
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'command_reference',
    'node_reference',
    'search_words',
]
root_doc = 'docs/site/index'
include_patterns = [
    'docs/*.md',
    'docs/notebooks/*.ipynb',
    'docs/site/*.md',
    'docs/site/*.rst',  # what only Sphinx can read
    'docker/README.md',
    'pumba_pipe/weights/default.md',
    'tests/data/ATTRIBUTION.md',
    'CHANGELOG.md',
    'CODE_OF_CONDUCT.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
]

# Headings can be linked to by the anchors that GitHub gives them.
myst_heading_anchors = 4
myst_enable_extensions = ['colon_fence']
# Shell blocks hold placeholders in capitals, and some show `...`: no error of highlighting.
suppress_warnings = ['misc.highlighting_failure']

# `--csf` and quotes in the reference of commands stay what one types.
smartquotes = False

# `make docs` runs the notebooks; a build without that shows their code only.
nb_execution_mode = 'off'
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_output_stderr = 'remove'
nb_merge_streams = True  # lines of a log in one block

autodoc_typehints = 'none'  # docstrings name the types
autodoc_member_order = 'bysource'
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = 'furo'
html_title = f'pumba_pipe {version}'
html_extra_path = ['extra']  # index.html, which leads to the first page
html_static_path = ['static']
html_css_files = ['tables.css']
html_search_scorer = str(HERE / 'scorer.js')
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None  # the same sources give the same site

linkcheck_timeout = 20
linkcheck_retries = 2
