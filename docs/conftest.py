"""Pages whose examples need a package that is not installed are no tests."""

from importlib.util import find_spec

NEEDED = {"torch": ["torch.md", "api/torch.md"]}

collect_ignore = [page for package, pages in NEEDED.items() if find_spec(package) is None for page in pages]
