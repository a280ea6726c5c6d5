"""Every example in a docstring of the installed package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import logitloss as ll

MODULES = ["logitloss", *(f"logitloss.{module.name}" for module in pkgutil.iter_modules(ll.__path__))]
PYTHON_MODULES = [name for name in MODULES if name not in ("logitloss._core", "logitloss.__main__")]


@pytest.mark.parametrize("name", PYTHON_MODULES)
def test_docstring_examples(name):
    if name == "logitloss.jax":
        pytest.importorskip("jax", reason="logitloss.jax needs jax", exc_type=ImportError)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_every_public_function_has_an_example():
    functions = [name for name in ll.__all__ if callable(getattr(ll, name))]
    assert functions
    without = [name for name in functions if ">>>" not in (getattr(ll, name).__doc__ or "")]
    assert without == []
