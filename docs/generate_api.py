"""Write the API reference, docs/api/*.md, from the docstrings:  python docs/generate_api.py

The sources are parsed and not imported, so nothing need be built. With --check nothing is written; the exit code is 1
if a page is not what the docstrings say. Needs griffe (in the `test` and `dev` extras).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "api"

# Page -> title, and the modules whose public names stand on it.
PAGES = {
    "log-sum-exp": ("Log-sum-exp, softmax and their gradients", ("_softmax", "_logsumexp_state")),
    "cross-entropy": ("Softmax cross-entropy", ("_cross_entropy", "_cross_entropy_state")),
    "mpi": ("Softmax cross-entropy over MPI ranks", ("mpi",)),
    "binary-cross-entropy": ("Binary cross-entropy with logits", ("_binary_cross_entropy", "_focal_loss")),
    "hessian": ("Gradients and Hessian diagonals", ("_hessian",)),
    "boosting": ("Objectives for gradient boosting", ("boosting",)),
    "dask": ("Losses of Dask arrays", ("dask",)),
    "torch": ("Losses for PyTorch", ("torch._functional", "torch.nn")),
    "jax": ("Losses for JAX", ("jax",)),
    "probabilities": ("Losses on probabilities", ("_probabilities",)),
    "information": ("Information measures", ("_information",)),
    "regression": ("Losses of regression", ("_regression",)),
    "metrics": ("Metrics", ("_metrics",)),
    "token-logprobs": ("What is read off logits", ("_token_logprobs",)),
    "runtime": ("Instruction sets, threads, configuration", ("_config",)),
}

# Where an argument and its meaning come from: for all pages, then for one. One that is missing here is an error.
ORIGINS = {
    "": {
        "out": "NumPy: `out`",
        "grad_out": "NumPy: `out`",
        "num_threads": "scikit-learn: `n_threads`",
        "upstream": "PyTorch: `gradient` of `backward`",
        "reduction": "PyTorch: `reduction`",
        "normalizer": "Transformers: `num_items_in_batch`",
        "target": "PyTorch: `target`",
        "logits": "PyTorch: `input`",
    },
    "log-sum-exp": {
        "a": "SciPy: `a`",
        "x": "SciPy: `x`",
        "axis": "SciPy: `axis`",
        "b": "SciPy: `b`",
        "keepdims": "SciPy: `keepdims`",
        "return_sign": "SciPy: `return_sign`",
        "where": "NumPy: `where`",
        "y": "PyTorch: the saved output",
        "dy": "PyTorch: `grad_output`",
        "chunk": "own",
        "other": "own",
    },
    "token-logprobs": {
        "ids": "vLLM, Transformers: token ids",
        "axis": "Keras: `axis`",
        "temperature": "vLLM, Transformers: `temperature`",
        "ignore_index": "PyTorch: `ignore_index`",
        "returns": "own",
        "k": "PyTorch: `k` of `topk`",
        "d_logprob": "PyTorch: `grad_output`",
        "d_entropy": "PyTorch: `grad_output`",
        "lse": "FlashAttention: `softmax_lse`",
        "logprob": "vLLM: `logprob`",
        "entropy": "PyTorch: `entropy` of `Categorical`",
        "argmax": "NumPy: `argmax`",
        "rank": "vLLM: `rank`",
        "topk_ids": "own",
        "topk_logprobs": "own",
    },
    "cross-entropy": {
        "axis": "Keras: `axis`",
        "class_weight": "PyTorch: `weight`",
        "sample_weight": "Keras, scikit-learn: `sample_weight`",
        "ignore_index": "PyTorch: `ignore_index`",
        "label_smoothing": "PyTorch: `label_smoothing`",
        "z_loss": "T5X, PaLM: z-loss",
        "softcap": "Gemma 2: logit soft-capping",
        "margin": "AM-Softmax, CosFace: m",
        "scale": "AM-Softmax, CosFace: s",
        "logits_shard": "own",
        "first_class": "Megatron-LM: `vocab_start_index`",
        "num_classes": "torchmetrics: `num_classes`",
        "array": "own",
        "other": "own",
    },
    "mpi": {
        "shard": "own",
        "comm": "mpi4py: `Comm`",
        "sendobj": "mpi4py: `sendobj`",
        "first_class": "Megatron-LM: `vocab_start_index`",
        "num_classes": "torchmetrics: `num_classes`",
        "axis": "Keras: `axis`",
        "class_weight": "PyTorch: `weight`",
        "sample_weight": "Keras, scikit-learn: `sample_weight`",
        "ignore_index": "PyTorch: `ignore_index`",
        "label_smoothing": "PyTorch: `label_smoothing`",
        "z_loss": "T5X, PaLM: z-loss",
        "softcap": "Gemma 2: logit soft-capping",
        "margin": "AM-Softmax, CosFace: m",
        "scale": "AM-Softmax, CosFace: s",
    },
    "binary-cross-entropy": {
        "weight": "PyTorch: `weight`",
        "pos_weight": "PyTorch: `pos_weight`",
        "label_smoothing": "Keras: `label_smoothing`",
        "ignore_value": "PyTorch: `ignore_index`, here a value",
        "alpha": "torchvision: `alpha`",
        "gamma": "torchvision: `gamma`",
    },
    "hessian": {
        "hessian": "own",
        "hess_out": "NumPy: `out`",
        "axis": "Keras: `axis`",
        "class_weight": "PyTorch: `weight`",
        "sample_weight": "Keras, scikit-learn: `sample_weight`",
        "ignore_index": "PyTorch: `ignore_index`",
        "label_smoothing": "PyTorch: `label_smoothing`",
        "scale": "AM-Softmax, CosFace: s",
        "weight": "PyTorch: `weight`",
        "pos_weight": "PyTorch: `pos_weight`",
        "ignore_value": "PyTorch: `ignore_index`, here a value",
        "alpha": "torchvision: `alpha`",
        "gamma": "torchvision: `gamma`",
    },
    "boosting": {
        "hessian": "own",
        "class_weight": "PyTorch: `weight`",
        "sample_weight": "Keras, scikit-learn: `sample_weight`",
        "label_smoothing": "PyTorch: `label_smoothing`",
        "pos_weight": "PyTorch: `pos_weight`",
        "alpha": "torchvision: `alpha`",
        "gamma": "torchvision: `gamma`",
        "margin": "XGBoost: `output_margin`",
        "first": "XGBoost, LightGBM: `preds` or `y_true`",
        "second": "XGBoost, LightGBM: `dtrain` or `y_pred`",
        "lightgbm": "LightGBM: `weight`, `group`",
        "approxes": "CatBoost: `approxes`",
        "error": "CatBoost: `error`",
    },
    "dask": {
        "a": "SciPy: `a`",
        "x": "SciPy: `x`",
        "axis": "SciPy, Keras: `axis`",
        "keepdims": "SciPy: `keepdims`",
        "split_every": "Dask: `split_every`",
        "class_weight": "PyTorch: `weight`",
        "sample_weight": "Keras, scikit-learn: `sample_weight`",
        "weight": "PyTorch: `weight`",
        "pos_weight": "PyTorch: `pos_weight`",
    },
    "torch": {
        **dict.fromkeys(("input", "weight", "size_average", "ignore_index", "reduce"), "PyTorch"),
        **dict.fromkeys(("reduction", "label_smoothing", "target", "pos_weight", "dim", "keepdim", "out"), "PyTorch"),
        **dict.fromkeys(("inputs", "targets", "alpha", "gamma"), "torchvision"),
    },
    "jax": {
        "logits": "optax: `logits`",
        "labels": "optax: `labels`",
        "axis": "optax, JAX: `axis`",
        "where": "optax, JAX: `where`",
        "label_smoothing": "optax: `alpha` of `smooth_labels`",
        "a": "JAX: `a`",
        "b": "JAX: `b`",
        "keepdims": "JAX: `keepdims`",
        "return_sign": "JAX: `return_sign`",
    },
    "probabilities": {
        "probs": "Keras: `y_pred`",
        "eps": "Keras: `backend.epsilon()`",
        "axis": "Keras: `axis`",
        "class_weight": "PyTorch: `weight`",
        "sample_weight": "Keras, scikit-learn: `sample_weight`",
        "ignore_index": "PyTorch: `ignore_index`",
        "label_smoothing": "Keras: `label_smoothing`",
        "weight": "PyTorch: `weight`",
        "ignore_value": "PyTorch: `ignore_index`, here a value",
    },
    "information": {
        "p": "SciPy: `pk`",
        "q": "SciPy: `qk`",
        "axis": "SciPy: `axis`",
        "base": "SciPy: `base`",
    },
    "regression": {
        "pred": "PyTorch: `input`",
        "weight": "PyTorch: `weight`, scikit-learn: `sample_weight`",
        "log_rate": "PyTorch: `input`",
        "full": "PyTorch: `full`",
    },
    "metrics": {
        "axis": "Keras: `axis`",
        "top_k": "scikit-learn, Keras: `k`",
        "ignore_index": "PyTorch: `ignore_index`",
        "sample_weight": "Keras, scikit-learn: `sample_weight`",
        "loss": "own",
    },
    "runtime": {"n": "PyTorch: `set_num_threads`"},
}


class Page:
    """One family: its public names, in the order of the source."""

    def __init__(self, name: str, package: griffe.Module, links: dict[str, str]):
        self.name = name
        self.title, modules = PAGES[name]
        self.origins = ORIGINS[""] | ORIGINS[name]
        self.objects = [o for module in modules for o in public_objects(package, module)]
        self.links = links | {o.name: name for o in self.objects}

    def text(self) -> str:
        lines = [f"# {self.title}", "", "<!-- Written by docs/generate_api.py from the docstrings. Edit those. -->", ""]
        lines += [f"- [`{o.name}`](#{anchor(o.name)})" for o in self.objects]
        for o in self.objects:
            lines += ["", *self.entry(o, "##")]
        return "\n".join(lines) + "\n"

    def entry(self, o: griffe.Object, heading: str) -> Iterator[str]:
        yield f"{heading} {o.name}"
        yield from ("", "```python", signature(o), "```")
        for section in o.docstring.parse("numpy"):
            yield from ("", "\n".join(self.section(section)).strip("\n"))
        if isinstance(o, griffe.Class):
            for method in o.members.values():
                if method.is_public and method.is_function and not method.name.startswith("_"):
                    yield ""
                    yield from self.entry(method, heading + "#")

    def section(self, section: griffe.DocstringSection) -> Iterator[str]:
        kind = section.kind.value
        if kind == "text":
            yield from self.prose(section.value)
        elif kind in ("parameters", "attributes"):
            yield from self.arguments(kind.capitalize()[:-1].replace("Parameter", "Argument"), section.value)
        elif kind in ("returns", "raises"):
            yield from (f"**{kind.capitalize()}**", "")
            for item in section.value:
                yield from self.item(item)
        elif kind == "examples":
            yield from ("**Examples**", "")
            yield from example_blocks(section.value)
        elif kind == "admonition":
            yield from (f"**{section.title}**", "")
            yield from self.prose(section.value.description)
        else:
            raise ValueError(f"a docstring has a section of kind {kind}, which this script does not know")

    def prose(self, text: str) -> Iterator[str]:
        """Paragraphs; an indented one is a formula."""
        for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
            if paragraph.startswith("    "):
                yield from ("```text", *(line.strip().replace("``", "") for line in paragraph.splitlines()), "```", "")
            else:
                yield from (*self.linked(paragraph).splitlines(), "")

    def arguments(self, what: str, parameters: list[griffe.DocstringParameter]) -> Iterator[str]:
        yield from (f"| {what} | Type | Meaning | As in |", "|---|---|---|---|")
        for description, group in groupby(parameters, key=lambda p: p.description):
            same = list(group)
            names = ", ".join(f"`{p.name}`" for p in same)
            origin = self.origins[same[0].name] if len(same) == 1 else ""
            kind = kinds(same[0].annotation) if len(same) == 1 else ""
            yield f"| {names} | {cell(kind)} | {cell(self.linked(description))} | {origin} |"

    def item(self, item: griffe.DocstringReturn | griffe.DocstringRaise) -> Iterator[str]:
        name = getattr(item, "name", "")
        head = f"`{name}`: {item.annotation}" if name else kinds(item.annotation)
        yield f"- {head}. {cell(self.linked(item.description), in_table=False)}"

    def linked(self, text: str) -> str:
        """A public name between single backticks becomes a link to its entry."""

        def link(match: re.Match[str]) -> str:
            page = self.links.get(match[1])
            if page is None:
                return match[0]
            return f"[`{match[1]}`]({'' if page == self.name else page + '.md'}#{anchor(match[1])})"

        return re.sub(r"(?<!`)`(\w+)`(?!`)", link, text)


def public_objects(package: griffe.Module, module: str) -> list[griffe.Object]:
    if module.split(".")[0] not in package.members:
        return []
    found = [package[name].final_target for name in public_names(package) if module_of(package, name) == module]
    if not module.startswith("_"):  # whose names are not the package's
        found = [package[module][str(name).strip("'\"")] for name in package[module].exports]
    return sorted(found, key=lambda o: o.lineno)


def public_names(package: griffe.Module) -> list[str]:
    names = [str(name).strip("'\"") for name in package.exports]
    return [name for name in names if not name.startswith("__")]


def module_of(package: griffe.Module, name: str) -> str:
    return package[name].target_path.split(".")[1]


def kinds(annotation: object) -> str:
    """A docstring's type, or several: griffe takes a list of them for a tuple."""
    return str(annotation or "").removeprefix("(").removesuffix(")").replace("'", '"')


def anchor(name: str) -> str:
    return name.lower()


def cell(text: str, in_table: bool = True) -> str:
    line = " ".join(text.split())
    return line.replace("|", "\\|") if in_table else line


def signature(o: griffe.Object) -> str:
    """A call as it is written: defaults, and a star where keywords begin."""
    parameters = []
    star = False
    for p in o.parameters:
        if p.name == "self":
            continue
        if p.kind is griffe.ParameterKind.keyword_only and not star:
            parameters.append("*")
            star = True
        parameters.append(p.name if p.default is None else f"{p.name}={p.default}")
    call = f"{o.name}({', '.join(parameters)})"
    if len(call) <= 100:
        return call
    lines, line = [], ""
    for p in parameters:
        if len(line) + len(p) > 90:
            lines.append(line.rstrip())
            line = ""
        line += p + ", "
    return f"{o.name}(\n    " + "\n    ".join([*lines, line.rstrip(" ")]) + "\n)"


def example_blocks(parts: list[tuple[griffe.DocstringSectionKind, str]]) -> Iterator[str]:
    """The empty line ends the expected output, so that the pages themselves run as doctests."""
    for kind, text in parts:
        if kind is griffe.DocstringSectionKind.examples:
            yield from ("```python", *text.splitlines(), "", "```")
        else:
            yield from text.splitlines()


def pages() -> dict[Path, str]:
    """File -> text of every page."""
    package = griffe.load("logitloss", search_paths=[ROOT / "python"], allow_inspection=False)
    known = {module for _, modules in PAGES.values() for module in modules}
    links = {}
    for name in public_names(package):
        module = module_of(package, name)
        if module not in known:
            raise ValueError(f"{name} is public, but no page of PAGES has its module {module}")
        links[name] = next(page for page, (_, modules) in PAGES.items() if module in modules)
    return {FOLDER / f"{name}.md": Page(name, package, links).text() for name in PAGES}


def outdated() -> list[Path]:
    return [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is not up to date")
    if parser.parse_args().check:
        for path in outdated():
            print(f"not up to date: {path.relative_to(ROOT)} (run python docs/generate_api.py)")
        return int(bool(outdated()))
    FOLDER.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
