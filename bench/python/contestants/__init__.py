"""The libraries that are compared: one module each, with the same four names.

NAME: what the tables call it. VERSION: of the library. prepare(num_threads): called once.
runners(problem): {name: Runner}; empty where the library has nothing for that operation, dtype or option.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

PEERS = ("numpy", "scipy", "sklearn", "torch", "torch_compile", "jax", "logitloss_torch", "logitloss_jax")


def load(wanted: list[str]) -> tuple[list[ModuleType], dict[str, str]]:
    """logitloss and those of the wanted peers that are installed; and why the others are missing."""
    modules, missing = [import_module("contestants.logitloss")], {}
    for name in wanted:
        try:
            modules.append(import_module(f"contestants.{name}"))
        except ImportError as error:
            missing[name] = str(error)
    return modules, missing
