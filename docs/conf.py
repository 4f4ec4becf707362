"""How Sphinx makes the site: `make docs` writes build/site, which needs no network to be read."""

project = "Songbag"
author = "The Songbag authors"
extensions = ["myst_nb", "sphinx_copybutton"]
# The repository is the source, so that links from pages to code stay links (to copies of it).
include_patterns = ["docs/**", "examples/*.ipynb", "CHANGELOG.md"]
exclude_patterns = ["docs/*.py"]
root_doc = "docs/index"
nb_execution_mode = "off"  # they lie executed in examples/; make test-all runs them
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Songbag"
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
suppress_warnings = ["myst.header"]  # pages of decisions begin at their own level


def setup(app):  # type: ignore[no-untyped-def]
    """Put a page at the root of the site that leads to the start page."""

    def lead_to_start(app, error):  # type: ignore[no-untyped-def]
        if error is None:
            page = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">'
            (app.outdir / "index.html").write_text(page + '<a href="docs/index.html">Songbag</a>\n')

    app.connect("build-finished", lead_to_start)
