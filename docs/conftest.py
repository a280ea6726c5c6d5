"""Pages whose examples need a package that is not installed do not run; what is in docstrings is tested there."""

from importlib.util import find_spec

NEEDED = {"dask": ["api/dask.md"], "jax": ["jax.md", "api/jax.md"], "torch": ["torch.md", "api/torch.md"]}

collect_ignore = [page for package, pages in NEEDED.items() if find_spec(package) is None for page in pages]
