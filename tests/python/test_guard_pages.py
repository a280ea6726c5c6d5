"""No byte outside an array is read or written: every input and output ends where a page begins that may not be touched,
and then begins where one ends. For every function, every size up to 300 and around a block, every instruction set.

A touch is a segmentation fault, so this runs in processes of its own, which say what they were doing when they died.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from checks import SAMPLE, share, spares
from child import start_python
from functions import FUNCTIONS
from losses import LOSSES, Inputs, Loss

import logitloss as ll

if not sys.platform.startswith("linux"):
    pytest.skip("pages are protected as Linux does it", allow_module_level=True)

SIZES = [*range(301), 4095, 4096, 4097]
PAGE = mmap.PAGESIZE
IMPORT = "import test_guard_pages as t; "

# One of every function and kind of target; variants of the options take turns.
ON_EVERY_SIZE = list({(loss.value, loss.target): loss for loss in LOSSES}.values())


class Guarded:
    """Memory of some pages with a forbidden one on either side, reused for one array after the other."""

    def __init__(self, pages: int) -> None:
        self._memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self._inside = pages * PAGE
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (start, start + PAGE + self._inside):
            if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, array: Any, at_end: bool) -> np.ndarray:
        """A copy of `array` in C order, up against one of the forbidden pages."""
        array = np.asarray(array)
        first = PAGE + (self._inside - array.nbytes if at_end else 0)
        placed = np.frombuffer(self._memory, array.dtype, array.size, first).reshape(array.shape)
        placed[...] = array
        return placed


class Places:
    """Guarded memory for the arguments of a call."""

    def __init__(self, pages: int, count: int) -> None:
        self._regions = [Guarded(pages) for _ in range(count)]

    def take(self, *arrays: Any, at_end: bool) -> list[np.ndarray]:
        regions = self._regions[: len(arrays)]
        return [region.place(array, at_end) for region, array in zip(regions, arrays, strict=True)]


def call_loss(loss: Loss, given: Inputs, places: Places, at_end: bool) -> None:
    names = [name for name, value in given.options.items() if isinstance(value, np.ndarray)]
    out, grad = loss.value(given.logits, *given.targets, **given.options), np.zeros_like(given.logits)
    upstream = np.ones_like(out)
    arrays = [given.logits, *given.targets, grad, out, upstream, *(given.options[name] for name in names)]
    placed = places.take(*arrays, at_end=at_end)
    logits, *rest = placed[: 1 + len(given.targets)]
    grad, out, upstream, *weights = placed[1 + len(given.targets) :]
    options = given.options | dict(zip(names, weights, strict=True))
    loss.value(logits, *rest, **options, out=out)
    loss.value_and_grad(logits, *rest, **options, out=out, grad_out=grad, upstream=upstream)
    loss.value_and_grad(logits, *rest, **options, grad_out=logits)


def call_softmaxes(x: np.ndarray, places: Places, at_end: bool) -> None:
    rows = x[:, :1].sum(axis=1).astype(np.float64 if x.dtype == np.float64 else np.float32)
    a, b, y, out, out_rows, grad = places.take(x, x, x, x, rows, x, at_end=at_end)
    ll.logsumexp(a, axis=-1, out=out_rows)
    ll.logsumexp(a, axis=-1, b=b)
    ll.logsumexp(a, axis=0, b=b[:1], return_sign=True)
    ll.logsumexp(a)
    ll.logsumexp_value_and_grad(a, upstream=out_rows, grad_out=grad)
    ll.LogSumExp().update(a).update(b).value()
    for axis in (-1, 0):
        ll.softmax(a, axis=axis, out=y)
        ll.softmax_vjp(y, b, axis, out=out)
        ll.log_softmax(a, axis=axis, out=y)
        ll.log_softmax_vjp(y, b, axis, out=out)
    where = x.astype(np.float32) > -0.5
    kept, kept_row, kept_class = Places(pages=4, count=3).take(where, where[0], where[:, :1], at_end=at_end)
    for mask in (kept, kept_row, kept_class):
        for axis in (-1, 0):
            ll.logmeanexp(a, axis=axis, where=mask)
            ll.logmeanexp(a, axis=axis, b=b, where=mask)
            ll.softmax(a, axis=axis, where=mask, out=y)
            ll.log_softmax(a, axis=axis, where=mask, out=out)
    ll.softmax(a, axis=-1, out=a)


def call_measures(x: np.ndarray, places: Places, at_end: bool) -> None:
    """Information measures and metrics, which have no gradient."""
    wide = np.float64 if x.dtype == np.float64 else np.float32
    p = np.abs(x)
    for axis in (-1, 0):
        rows = np.zeros(np.delete(x.shape, axis), wide)
        labels = np.zeros(rows.shape, np.int64)
        logits, a, b, out, target, weight = places.take(x, p, p, rows, labels, rows + 1, at_end=at_end)
        ll.entropy(a, axis=axis, out=out)
        ll.entropy_from_logits(logits, axis=axis, out=out)
        ll.kl_divergence(a, b, axis=axis, out=out)
        ll.cross_entropy_of(a, b, axis=axis, out=out)
        if x.shape[axis] == 0:
            continue  # no class could be the target
        ll.accuracy(logits, target, axis=axis, sample_weight=weight)
        ll.error_rate(logits, target, axis=axis, top_k=2)
        ll.accuracy(logits, b, axis=axis, sample_weight=weight)
        ids = np.moveaxis(labels[None], 0, axis).repeat(2, axis)
        every = {"axis": axis, "returns": ll.TokenLogProbs._fields, "k": min(2, x.shape[axis])}
        ll.token_logprobs(logits, target, **every)
        logits, ids, d, e, grad = places.take(x, ids, ids.astype(wide), rows, x, at_end=at_end)
        ll.token_logprobs(logits, ids, **every)
        ll.token_logprobs_vjp(logits, ids, d, e, axis=axis, grad_out=grad)
        ll.token_logprobs_vjp(logits, ids, d, e, axis=axis, grad_out=logits)
    a, out = places.take(p, p.astype(wide), at_end=at_end)
    ll.self_information(a, out=out)
    ll.self_information(a, base=2, out=out)
    ll.perplexity(a, out=out)


def call_hessians(x: np.ndarray, places: Places, at_end: bool) -> None:
    for axis in (-1, 0):
        if x.shape[axis] == 0:
            continue  # no class could be the target
        labels = np.zeros(np.delete(x.shape, axis), np.float32)
        places_of = places.take(x, x, x, labels, np.abs(x), labels + 1, at_end=at_end)
        logits, grad, hess, target, soft, weight = places_of
        outputs = {"grad_out": grad, "hess_out": hess}
        ll.cross_entropy_grad_hess(logits, target, axis=axis, sample_weight=weight, **outputs)
        ll.cross_entropy_grad_hess(logits, target, axis=axis, label_smoothing=0.1, **outputs)
        ll.cross_entropy_grad_hess(logits, soft, axis=axis, **outputs)
        ll.bce_with_logits_grad_hess(logits, soft, weight=soft, **outputs)
        ll.sigmoid_focal_loss_grad_hess(logits, soft, **outputs)
        ll.cross_entropy_grad_hess(logits, target, axis=axis, grad_out=logits, hess_out=hess)


def walk(say: Callable[[str], None], dtypes: list[str]) -> int:
    """Every call on every size; how many array sets were placed."""
    rng = np.random.default_rng(5)
    places = Places(pages=25, count=8)  # 3 * 4097 numbers of float64
    calls = 0
    for dtype in [np.dtype(getattr(ml_dtypes, name, name)) for name in dtypes]:
        for size in share(SIZES, ll.isa()):
            for at_end in (True, False):
                for call in (call_softmaxes, call_measures, call_hessians):
                    say(f"{call.__name__}, {dtype}, {size}, {'end' if at_end else 'start'}")
                    call(rng.standard_normal((2, size)).astype(dtype), places, at_end)
                    if size > 1:  # positions lie side by side: the class axis is strided
                        call(rng.standard_normal((size, 3)).astype(dtype), places, at_end)
                    calls += 2
            for turn, loss in enumerate(LOSSES):
                if loss.target is None or (loss not in ON_EVERY_SIZE and turn % 8 != size % 8):
                    continue
                shapes = [(size,)] if loss.elementwise else [(2, size), (size, 3)][size == 0 : 1 + (size <= 40)]
                for shape in shapes:
                    given = loss.inputs(rng, shape, dtype)
                    for at_end in (True, False):
                        say(f"{loss}, {dtype}, {shape}, {'end' if at_end else 'start'}")
                        call_loss(loss, given, places, at_end)
                        calls += 1
    return calls


def main(dtypes: list[str]) -> None:
    with open(sys.argv[1], "r+b") as file:
        last = mmap.mmap(file.fileno(), 256)

        def say(what: str) -> None:
            last[:] = what.encode()[:256].ljust(256)

        print(ll.isa(), walk(say, dtypes))


@pytest.mark.parametrize("dtypes", [["float32"], ["float64"], ["float16", "bfloat16"]], ids="-".join)
@pytest.mark.parametrize("isa", ll.available_isas())
def test_nothing_outside_the_arrays_is_touched(isa, dtypes, tmp_path):
    note = tmp_path / "note"
    note.write_bytes(b" " * 256)
    code = IMPORT + f"t.main({dtypes})"
    done = start_python("-c", code, str(note), timeout=900, LOGITLOSS_ISA=isa)
    assert done.returncode == 0, f"died of {done.returncode} in: {note.read_text().strip()}\n{done.stderr[-2000:]}"
    used, calls = done.stdout.split()
    assert used == isa
    assert int(calls) > 5000 / (17 if spares(isa) else SAMPLE or 1)


def test_every_public_function_is_called():
    """With the losses of ON_EVERY_SIZE, the functions that are called by name here are all that there are."""
    source = Path(__file__).read_text()
    losses = {function for loss in LOSSES for function in (loss.value, loss.value_and_grad)}
    uncalled = {f.call.__name__ for f in FUNCTIONS if f.call not in losses and f"ll.{f.call.__name__}(" not in source}
    assert not uncalled


def test_the_guard_guards():
    code = (
        IMPORT + "import ctypes, numpy as np; a = t.Guarded(1).place(np.ones(8, np.uint8), at_end={});"
        "print(ctypes.c_char.from_address(a.ctypes.data + {}).value)"
    )
    for at_end, beyond in ((True, 8), (False, -1)):
        inside = start_python("-c", code.format(at_end, 0))
        assert inside.stdout == "b'\\x01'\n", inside.stderr
        assert start_python("-c", code.format(at_end, beyond)).returncode < 0
