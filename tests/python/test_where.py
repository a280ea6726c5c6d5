"""`where=` of log-sum-exp, softmax and log-softmax: what is masked is not read, and the result has the bits of -inf in
its place."""

import ctypes
import mmap
import re
import sys

import ml_dtypes
import numpy as np
import pytest
from checks import DTYPES, HALVES, assert_same_bits
from child import start_python

import logitloss as ll

ALL = [*DTYPES, *HALVES]
every_dtype = pytest.mark.parametrize("dtype", ALL, ids=lambda d: np.dtype(d).name)
FUNCTIONS = [ll.logsumexp, ll.softmax, ll.log_softmax, ll.logsumexp_value_and_grad]
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)

# Rows of few classes, of one block and of several, side by side and not; axes that merge and that do not.
SHAPES = [
    ((7, 3), 1),
    ((300, 10), 1),
    ((300, 10), 0),
    ((5, 200), -1),
    ((40, 1000), 1),
    ((2, 9000), 1),
    ((3, 5, 4, 6), (1, 3)),
    ((3, 150, 20), 1),
    ((64, 130), 0),
    ((2, 3, 4), None),
    ((5, 1), 1),
    ((4, 0), 1),
    ((0, 4), 1),
    ((), None),
]


def masks(rng, shape):
    """Masks of a shape that broadcasts to `shape`, in several layouts."""
    last = shape[-1:] or (1,)
    yield "all", np.True_
    yield "nothing", np.zeros(shape, bool)
    yield "half", rng.random(shape) < 0.5
    if shape == ():
        return
    yield "one row for all", rng.random(last) < 0.5
    yield "padding", np.arange(last[0]) < 0.7 * last[0]
    yield "one class for all", rng.random((*shape[:-1], 1)) < 0.5
    yield "one index of the first axis", rng.random((shape[0], *(1,) * (len(shape) - 1))) < 0.5
    yield "Fortran", np.asfortranarray(rng.random(shape) < 0.8)
    yield "gaps", (rng.random((*shape[:-1], 2 * shape[-1])) < 0.8)[..., ::2]
    yield "reversed", (rng.random(shape) < 0.8)[::-1]
    yield "other bytes", (rng.integers(0, 3, shape, np.uint8) * np.uint8(100)).view(bool)


def layouts(x):
    """Copies of x that are laid out differently, and may be written."""
    yield x.copy()
    yield np.asfortranarray(x)
    if x.ndim > 0:
        gaps = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
        gaps[...] = x
        yield gaps
    if x.dtype != ml_dtypes.bfloat16:
        yield x.astype(x.dtype.newbyteorder())


def parts(result):
    return result if isinstance(result, tuple) else (result,)


def assert_same_results(got, want):
    for g, w in zip(parts(got), parts(want), strict=True):
        assert_same_bits(g, w)


@every_dtype
@every_function
def test_the_bits_are_those_of_minus_infinity(function, dtype):
    rng = np.random.default_rng(3)
    for shape, axis in SHAPES:
        x = np.asarray(3 * rng.standard_normal(shape)).astype(dtype)
        for turn, (_, where) in enumerate(masks(rng, shape)):
            kept = np.broadcast_to(np.asarray(where).view(np.uint8) != 0, shape)
            arrays = [array for at, array in enumerate(layouts(x)) if (turn + at) % 2 == 0 or turn < 3]
            for array in arrays:
                array[~kept] = -np.inf
                want = function(array, axis=axis)
                np.copyto(array, np.resize(np.array([np.nan, np.inf, 3], np.float32), shape), "same_kind", where=~kept)
                assert_same_results(function(array, axis=axis, where=where), want)


@every_dtype
def test_extreme_rows(dtype):
    """Rows with NaN, infinities and huge numbers, which take other ways, masked or beside what is masked."""
    rng = np.random.default_rng(4)
    for shape in ((60, 10), (60, 130), (12, 5000)):
        big = 1e4 if np.dtype(dtype) == np.float16 else 1e6
        special = rng.choice([1, 1, 1, 1, 1, 1, np.nan, np.inf, -np.inf, big, -big], shape)
        x = (rng.standard_normal(shape) * special).astype(dtype)
        where = rng.random(shape) < rng.choice([0.1, 0.9, 0.999], (shape[0], 1))
        for function in FUNCTIONS:
            assert_same_results(function(x, axis=1, where=where), function(np.where(where, x, dtype(-np.inf)), axis=1))


@every_dtype
def test_with_weights_it_is_a_weight_of_0(dtype):
    rng = np.random.default_rng(5)
    for shape, axis in SHAPES[:-1]:
        x = rng.standard_normal(shape).astype(dtype)
        b = (rng.standard_normal(shape) - 0.2).astype(dtype)
        for _, where in masks(rng, shape):
            kept = np.broadcast_to(np.asarray(where).view(np.uint8) != 0, shape)
            want = ll.logsumexp(x, axis, np.where(kept, b, dtype(0)), return_sign=True)
            dirty, dirty_b = np.where(kept, x, dtype(np.nan)), np.where(kept, b, dtype(np.nan))
            assert_same_results(ll.logsumexp(dirty, axis, dirty_b, return_sign=True, where=where), want)
            assert_same_bits(
                ll.logsumexp(dirty, axis, return_sign=True, where=where)[0],
                ll.logsumexp(np.where(kept, x, dtype(-np.inf)), axis, return_sign=True)[0],
            )


def test_integers_and_lists():
    x, where = [[1, 2, 3], [4, 5, 6]], [True, False, True]
    want = np.array([[1, -np.inf, 3], [4, -np.inf, 6]])
    for function in FUNCTIONS:
        assert_same_results(function(x, axis=1, where=where), function(want, axis=1))


@every_dtype
@pytest.mark.parametrize("function", [ll.softmax, ll.log_softmax], ids=lambda f: f.__name__)
def test_into_given_arrays_and_in_place(function, dtype):
    rng = np.random.default_rng(6)
    for shape, axis in SHAPES[:9]:
        x = rng.standard_normal(shape).astype(dtype)
        where = rng.random(shape) < 0.5
        for array in layouts(x):
            want = function(array, axis=axis, where=where)
            out = np.zeros_like(x)
            assert function(array, axis=axis, where=where, out=out) is out
            assert_same_bits(out, want)
            if array.dtype.isnative:
                array[~where] = np.nan
                function(array, axis=axis, where=where, out=array)
                assert_same_bits(np.ascontiguousarray(array), np.ascontiguousarray(want))


def test_results_with_kept_axes():
    x = np.arange(12.0).reshape(3, 4)
    where = x % 3 != 0
    out = np.zeros((3, 1))
    got = ll.logsumexp(x, axis=1, keepdims=True, where=where, out=out)
    assert got is out
    np.testing.assert_array_equal(out[:, 0], ll.logsumexp(x, axis=1, where=where))
    np.testing.assert_allclose(out[:, 0], np.log(np.sum(np.exp(x), axis=1, where=where)))
    assert ll.logsumexp(x, axis=1, where=False).tolist() == [-np.inf] * 3


@every_function
def test_bits_do_not_depend_on_threads(function):
    rng = np.random.default_rng(8)
    for shape in ((3000, 10), (2, 200_000), (200, 1500)):
        x, where = rng.standard_normal(shape).astype(np.float32), rng.random(shape) < 0.7
        one = function(x, axis=1, where=where, num_threads=1)
        for threads in (2, 5):
            assert_same_results(function(x, axis=1, where=where, num_threads=threads), one)


@pytest.mark.parametrize("function", [*FUNCTIONS, ll.logmeanexp], ids=lambda f: f.__name__)
def test_bad_masks(function):
    x = np.full((4, 3), 2, np.float32)
    for where in (np.ones((4, 3)), [1, 0, 1], np.ones(3, np.uint8), 1, 1.0, "yes", np.ones(3, object), []):
        with pytest.raises(TypeError, match=r"^where: got "):
            function(x, axis=-1, where=where)
    with pytest.raises(TypeError, match=r"^where: got .*mask would be lost"):
        function(x, axis=-1, where=np.ma.array(np.ones((4, 3), bool)))
    for shape in ((4,), (4, 2), (2, 4, 3), (1, 4, 3), (0,)):
        with pytest.raises(ValueError, match="^" + re.escape(f"where: got shape {shape}, expected")):
            function(x, axis=-1, where=np.ones(shape, bool))
    assert np.all(x == 2)


def test_bad_masks_beside_weights():
    x = np.zeros((4, 3))
    for function in (ll.logsumexp, ll.logmeanexp):
        with pytest.raises(TypeError, match=r"^where: got dtype int64, expected bool"):
            function(x, b=x, where=[1, 0, 1])
        with pytest.raises(ValueError, match=r"^where: got shape \(4,\)"):
            function(x, b=x, where=np.ones(4, bool))


@pytest.mark.parametrize(
    "function", [ll.logsumexp, ll.logmeanexp, ll.softmax, ll.log_softmax], ids=lambda f: f.__name__
)
def test_a_result_over_the_mask_is_refused(function):
    x = np.zeros((4, 8), np.float32)
    memory = np.ones(256, np.uint8)
    axis = 1
    out = memory[:128].view(np.float32)[: 4 if function in (ll.logsumexp, ll.logmeanexp) else 32]
    out = out.reshape(function(x, axis=axis).shape)
    with pytest.raises(ValueError, match=r"^out: .*overlap.*where|^out: .*where"):
        function(x, axis=axis, where=memory[8:40].view(bool).reshape(4, 8), out=out)
    assert np.all(memory == 1)


# ----------------------------------------------------------------------------------------------------- what is not read


def read_beside_a_forbidden_page():
    """All functions on arrays of which a page may not be touched: what lies there is masked. Returns how many calls."""
    rng = np.random.default_rng(9)
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 6 * page)
    libc = ctypes.CDLL(None)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    size = 6 * page
    calls = 0
    for dtype in map(np.dtype, ALL):
        bytes_of = np.frombuffer(memory, np.uint8)
        numbers = (4 * rng.random(size // dtype.itemsize)).astype(dtype)
        for offset in (0, dtype.itemsize):
            count = (size - page) // dtype.itemsize
            flat = bytes_of[offset : offset + count * dtype.itemsize].view(dtype)
            flat[...] = numbers[:count]
            clean = flat.copy()
            address = offset + dtype.itemsize * np.arange(count)
            allowed = (address + dtype.itemsize <= 2 * page) | (address >= 3 * page)
            libc.mprotect(ctypes.c_void_p(start + 2 * page), ctypes.c_size_t(page), 0)
            for classes in (3, 10, 130, 1000, count):
                rows = count // classes
                for axis in (1, 0):
                    shape = (rows, classes) if axis == 1 else (classes, rows)
                    x, want, where = (a[: rows * classes].reshape(shape) for a in (flat, clean, allowed))
                    where = where & (rng.random(shape) < 0.8)
                    for step in (1, 2):
                        for function in [*FUNCTIONS, ll.logmeanexp]:
                            got = function(x[:, ::step], axis=axis, where=where[:, ::step])
                            assert_same_results(got, function(want[:, ::step], axis=axis, where=where[:, ::step]))
                            calls += 1
                    got = ll.logsumexp(x, axis=axis, b=x, where=where)
                    assert_same_bits(got, ll.logsumexp(want, axis=axis, b=want, where=where))
            libc.mprotect(ctypes.c_void_p(start + 2 * page), ctypes.c_size_t(page), mmap.PROT_READ | mmap.PROT_WRITE)
    return calls


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are protected as Linux does it")
@pytest.mark.parametrize("isa", ll.available_isas())
def test_what_is_masked_is_not_read(isa):
    code = "import logitloss as ll, test_where as t; print(ll.isa(), t.read_beside_a_forbidden_page())"
    done = start_python("-c", code, LOGITLOSS_ISA=isa)
    assert done.returncode == 0, done.stderr[-2000:]
    used, calls = done.stdout.split()
    assert used == isa
    assert int(calls) == len(ALL) * 2 * 5 * 2 * 2 * 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are protected as Linux does it")
def test_without_the_mask_it_would_be_read():
    code = (
        "import ctypes, mmap, numpy as np, logitloss as ll; m = mmap.mmap(-1, mmap.PAGESIZE);"
        "a = np.frombuffer(m, np.float32); ctypes.CDLL(None).mprotect(ctypes.c_void_p(a.ctypes.data), "
        "ctypes.c_size_t(mmap.PAGESIZE), 0); print('ready', flush=True); ll.logsumexp(a, where=np.arange(a.size) < {})"
    )
    assert start_python("-c", code.format(0)).returncode == 0
    read = start_python("-c", code.format(1))
    assert read.stdout == "ready\n"
    assert read.returncode < 0


@every_dtype
def test_logits_that_are_not_aligned(dtype, rng):
    x = rng.standard_normal((5, 300)).astype(dtype)
    where = rng.random(x.shape) < 0.6
    unaligned = np.frombuffer(b"x" + x.tobytes(), dtype=np.uint8)[1:].view(dtype).reshape(x.shape)
    for function in (ll.logsumexp, ll.softmax, ll.log_softmax):
        got = function(unaligned, axis=-1, where=where)
        np.testing.assert_array_equal(got, function(x, axis=-1, where=where))
