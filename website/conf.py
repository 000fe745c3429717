"""How Sphinx builds the site (`make site`; build.py lays out what it reads)."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jupyter_server_mathjax

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: owner/name of the repository: on GitHub its own, elsewhere pyproject.toml's (a placeholder until it has one).
REPOSITORY = os.environ.get("GITHUB_REPOSITORY") or PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
PLACEHOLDER = REPOSITORY.startswith("OWNER/")

project = "steer_utils"
author = PROJECT["authors"][0]["name"]
copyright = f"{author}, Apache-2.0"
version = release = PROJECT["version"]
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
include_patterns = [
    "index.md",
    "docs.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "api/*",
    "docs/**.md",
    "notebooks/**",
    "benchmarks/README.md",
    "results/README.md",
    "steer_utils/pocket/**.md",
]
exclude_patterns = ["**/.ipynb_checkpoints", "notebooks/gpu/gpu-run"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}

# -- notebooks are shown as they are committed ------------------------------------------------------------------------
nb_execution_mode = "off"
nb_merge_streams = True
nb_number_source_lines = False
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

# -- formulas ---------------------------------------------------------------------------------------------------------
mathjax_path = "mathjax/MathJax.js"
mathjax2_config = {
    "config": ["TeX-AMS-MML_HTMLorMML-full.js"],
    "tex2jax": {
        "inlineMath": [["\\(", "\\)"]],
        "displayMath": [["\\[", "\\]"]],
        "processClass": "math",
        "ignoreClass": ".*",
    },
    "HTML-CSS": {
        "availableFonts": [],
        "preferredFont": None,
        "webFont": "STIX-Web",
        "linebreaks": {"automatic": True},
        # MathJax asks about:blank for a font that must not be there, which browsers report as an error.
        "styles": {"@font-face": {"font-family": "MathJax_Blank", "src": "local('MathJax_Blank')"}},
    },
    "showMathMenu": False,
    "messageStyle": "none",
}

# -- the API reference ----------------------------------------------------------------------------------------------
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autosummary_generate = False
add_module_names = False
default_role = "code"

# -- how it looks -----------------------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = "steer_utils"
html_static_path = ["static", *(f"../figures/hero{rest}" for rest in (".webm", ".vtt", "_still.webp"))]
html_favicon = "static/favicon.svg"
html_css_files = ["site.css"]
templates_path = ["templates"]
html_sourcelink_suffix = ""  # a notebook's source is the notebook, to download
html_show_sphinx = False
html_context = {"default_mode": "auto"}
html_theme_options: dict[str, Any] = {
    "logo": {"text": "steer_utils"},
    "article_header_end": ["run-this"],
    "article_header_start": [],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "search_bar_text": "Search",
}

#: Pages whose lists of contents would be noise where they are read as files.
CONTENTS = {
    "notebooks/README": ("*", "electives/*", "capstone/*", "gpu/*"),
    "notebooks/exercises/README": ("*", "electives/*"),
}


def contents(page: Path, patterns: Iterable[str]) -> str:
    """A hidden list of the pages beside `page`: all that are there, in order of their names."""
    names = [
        path.relative_to(page.parent).with_suffix("").as_posix()
        for pattern in patterns
        for path in sorted(page.parent.glob(pattern))
        if path.suffix in source_suffix and path != page
    ]
    return "\n\n```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n"


def dress(notebook: dict[str, Any]) -> None:
    """Say in myst-nb's words what the notebook says in Jupyter's: folded cells, and the alt text of its pictures."""
    for cell in notebook["cells"]:
        metadata = cell["metadata"]
        tags = metadata.setdefault("tags", [])
        if metadata.get("jupyter", {}).get("source_hidden") and "hide-input" not in tags:
            tags.append("hide-input")
        if "hide-input" in tags:
            what = "the solution" if "solution" in tags else "the code"
            metadata["mystnb"] = {"code_prompt_show": f"Show {what}", "code_prompt_hide": f"Hide {what}"}
        alts = [
            facts["alt"]
            for output in cell.get("outputs", [])
            for kind, facts in output.get("metadata", {}).items()
            if kind.startswith("image/") and "alt" in facts
        ]
        if alts:
            metadata.setdefault("mystnb", {})["image"] = {"alt": " ".join(alts)}


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """What a page's file lacks on a site."""
    up = "../" * docname.count("/")
    source[0] = source[0].replace(f"]({up}README.md", f"]({up}index.md")  # the README's place is the landing page
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".ipynb":
        notebook = json.loads(source[0])
        dress(notebook)
        source[0] = json.dumps(notebook)
    elif docname in CONTENTS:
        source[0] += contents(path, CONTENTS[docname])


def as_rst(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks; the rest must not be taken for markup."""
    kept = r"`[^`]*`|(?<!\w)\*\w[^*\n]*\*(?!\w)"  # code and emphasis
    text = re.sub(
        kept + r"|[*|]",
        lambda hit: hit[0].replace("`", "``") if len(hit[0]) > 1 else f"\\{hit[0]}",
        "\n".join(lines),
    )
    # "name   what it is": a list, whose long lines go on indented.
    text = re.sub(
        r"(?m)^(\w+(?:, \w+)*) {2,}(\S.*(?:\n {4,}\S.*)*)",
        lambda hit: f"``{hit[1]}``\n    " + " ".join(hit[2].split()),
        text,
    )
    # An indented paragraph after a plain one is code.
    text = re.sub(r"(?m)(^\S.*\n)\n(?=    \S)", r"\1\n.. code-block:: python\n\n", text)
    lines[:] = text.split("\n")


def run_this(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """The addresses behind the bar "run this" of a notebook's page."""
    if doctree is None or app.env.doc2path(pagename).suffix != ".ipynb":
        return
    path = f"{REPOSITORY}/blob/main/{pagename}.ipynb"
    context["run_this"] = {
        "Colab": f"https://colab.research.google.com/github/{path}",
        "Kaggle": f"https://kaggle.com/kernels/welcome?src=https://github.com/{path}",
        "Binder": f"https://mybinder.org/v2/gh/{REPOSITORY}/main?urlpath=lab/tree/{pagename}.ipynb",
    }
    context["run_this_placeholder"] = PLACEHOLDER


def carry_mathjax(app: Sphinx) -> None:
    """Put the MathJax that jupyter-server-mathjax brings into the site: nothing comes from elsewhere."""
    files = Path(jupyter_server_mathjax.__file__).parent / "static"
    unused = shutil.ignore_patterns("a11y", "localization", "SVG")
    shutil.copytree(files, app.outdir / "_static" / "mathjax", dirs_exist_ok=True, ignore=unused)


def setup(app: Sphinx) -> None:
    sys.path.insert(0, str(ROOT))
    app.connect("builder-inited", carry_mathjax)
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("html-page-context", run_this)
