"""Pages whose examples need a package that is not installed do not run; they come from docstrings, which are tested."""

import importlib.util

NEEDED = {"api/dask.md": "dask"}

collect_ignore = [page for page, package in NEEDED.items() if importlib.util.find_spec(package) is None]
