"""Pages whose examples need a package that may be missing."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("jax") else ["jax.md", "api/jax.md"]
