"""The annotations are true, of results and of the extension module. The type checkers are a step of the CI."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import logitloss as ll
from logitloss import _core

TYPED = Path(__file__).parents[1] / "typing" / "public_types.py"
PACKAGE = Path(__file__).parents[2] / "python" / "logitloss"
STUB = PACKAGE / "_core.pyi"
STUBS_OF_MODULES = sorted(path for path in PACKAGE.glob("*.pyi") if path != STUB)


def typed_statements():
    if sys.version_info < (3, 11):
        pytest.importorskip("typing_extensions")
    spec = importlib.util.spec_from_file_location("public_types", TYPED)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: function for name, function in vars(module).items() if inspect.isfunction(function)}


def test_the_statements_that_are_type_checked_run(capsys):
    functions = typed_statements()
    functions.pop("assert_type")
    assert functions.pop("mistakes_are_found")
    assert functions
    for function in functions.values():
        function()
    assert ll.isa() in capsys.readouterr().out


def test_what_is_imported_by_name_is_always_installed():
    """A type checker follows such imports, also into packages that are not needed to run.

    A module that is made for a package has its name and imports it; pyproject.toml tells mypy not to follow.
    """
    imported = set()
    for path in STUB.parent.glob("*.py*"):
        if path.suffix in (".py", ".pyi"):
            for statement in ast.walk(ast.parse(path.read_text())):
                if isinstance(statement, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in statement.names} - {path.stem}
                elif isinstance(statement, ast.ImportFrom) and statement.level == 0:
                    imported.add(statement.module.split(".")[0])
    assert "numpy" in imported
    assert imported <= sys.stdlib_module_names | {"numpy"}


X = np.zeros((4, 3), np.float32)
Y = np.zeros(4, np.int64)
T = np.zeros((4, 3), bool)

OVERLOADS = [
    # Scalar
    (np.floating, ll.cross_entropy, (X, Y), {}),
    (np.floating, ll.bce_with_logits, (X, T), {"reduction": "sum"}),
    (np.floating, ll.sigmoid_focal_loss, ([0.0], [1]), {}),
    (np.floating, ll.logsumexp, (X,), {}),
    (np.floating, ll.logsumexp, (0.0,), {}),
    # ArrayOrScalar
    (np.ndarray, ll.cross_entropy, (X, Y), {"reduction": "none"}),
    (np.floating, ll.cross_entropy, (X[0], Y[0]), {"reduction": "none"}),
    (np.ndarray, ll.cross_entropy, (X, Y), {"out": np.empty((), np.float32)}),
    (np.ndarray, ll.logsumexp, (X,), {"keepdims": True}),
    (np.ndarray, ll.softmax, (X,), {}),
    (np.floating, ll.softmax, (0.0,), {}),
]


@pytest.mark.parametrize(("kind", "function", "arguments", "options"), OVERLOADS)
def test_results_are_what_the_overloads_say(kind, function, arguments, options):
    assert isinstance(function(*arguments, **options), kind)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_gradients_are_arrays(reduction):
    for loss, target in ((ll.cross_entropy_value_and_grad, Y), (ll.bce_with_logits_value_and_grad, T)):
        assert isinstance(loss(X, target, reduction=reduction)[1], np.ndarray)


def definitions(path: Path) -> list[ast.FunctionDef]:
    statements = ast.parse(path.read_text("utf-8")).body
    return [each for each in statements if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")]


def signature(function: ast.FunctionDef) -> str:
    return f"({ast.unparse(function.args)}) -> {ast.unparse(function.returns)}"


# stubtest compares names and defaults, and over all overloads together; not the annotations.
@pytest.mark.parametrize("stub", STUBS_OF_MODULES, ids=lambda path: path.name)
def test_the_last_overload_is_the_signature_of_the_function(stub):
    last = {function.name: signature(function) for function in definitions(stub)}
    assert last == {function.name: signature(function) for function in definitions(stub.with_suffix(".py"))}


@pytest.mark.parametrize("stub", STUBS_OF_MODULES, ids=lambda path: path.name)
def test_the_overloads_of_a_function_have_the_same_parameters(stub):
    parameters: dict[str, set[tuple[str, ...]]] = {}
    for function in definitions(stub):
        names = tuple(argument.arg for argument in (*function.args.args, *function.args.kwonlyargs))
        parameters.setdefault(function.name, set()).add(names)
    assert [name for name, lists in parameters.items() if len(lists) > 1] == []


# pybind11 writes each function's signature into its docstring; stubtest cannot see the signatures of such functions.
def bound() -> dict[str, int]:
    functions = {name: value.__doc__ for name, value in vars(_core).items() if inspect.isbuiltin(value)}
    return {name: len(re.findall(r"\barg\d+: ", doc.split(" -> ")[0])) for name, doc in functions.items()}


def test_the_stub_has_the_functions_of_the_extension_module_and_their_numbers_of_arguments():
    assert {function.name: len(function.args.posonlyargs) for function in definitions(STUB)} == bound()
    assert max(bound().values()) > 10
