"""The bits of a result depend on values, shapes, memory layout and dtype, and on nothing else."""

import json
from pathlib import Path

import corpus
import numpy as np
import pytest
from checks import DTYPES, assert_same_bits
from child import start_python
from losses import LOSSES

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
PER_ROW = [loss for loss in LOSSES if loss.reduction == "none"]
CLASSES = [1, 2, 3, 7, 10, 33, 64, 128, 129, 1000, 4097]


# ---------------------------------------------------------------------- instruction sets and threads: golden hashes


def committed_hashes():
    return json.loads(corpus.GOLDEN_FILE.read_text())


@pytest.mark.parametrize("isa", ll.available_isas())
def test_results_have_the_committed_bits(isa):
    done = start_python(
        str(Path(corpus.__file__)),
        timeout=900,
        LOGITLOSS_ISA=isa,
        LOGITLOSS_OVERSUBSCRIBE="1",
        OMP_NUM_THREADS=str(max(corpus.THREADS)),
    )
    assert done.returncode == 0, done.stderr
    found, every = json.loads(done.stdout), committed_hashes()
    assert set(found) == {str(n) for n in corpus.THREADS}
    assert {name for name, *_ in corpus.cases()} == every.keys()
    committed = {name: every[name] for name, *_ in corpus.cases_on(isa)}
    for threads, hashes in found.items():
        different = [name for name in committed if hashes.get(name) != committed[name]]
        assert not different, f"{isa}, {threads} threads: {len(different)} of {len(committed)} differ: {different[:5]}"
        assert hashes.keys() == committed.keys()


def test_every_case_of_random_values_has_a_hash_of_its_own():
    random = [value for name, value in committed_hashes().items() if "/structured/" not in name]
    assert len(set(random)) == len(random) > 100


def test_the_hash_sees_order_and_sign_and_ignores_which_nan_it_is():
    a = np.array([1.0, 2.0, 0.0], np.float32)
    assert corpus.hash_of(a) != corpus.hash_of(a[[1, 0, 2]])
    assert corpus.hash_of(a) != corpus.hash_of(-a * np.float32(-1) * np.array([1, 1, -1], np.float32))
    nans = np.array([0x7FC00000, 0xFFC00001], np.uint32).view(np.float32)
    assert corpus.hash_of(nans[:1]) == corpus.hash_of(nans[1:])


# ------------------------------------------------------------------------------------------------------- alignments


def at_offset(array, offset):
    """A copy of `array`, contiguous, that starts `offset` bytes after a multiple of 64."""
    memory = np.zeros(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    moved = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
def test_alignment(loss, dtype, rng):
    for shape in ((11, 3), (6, 37), (5, 131), (2, 4099)):
        given = loss.inputs(rng, shape, dtype)
        want_value, want_grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
        for offset in (0, 4, 8, 20, 60, 1):
            grad = at_offset(np.zeros_like(given.logits), offset)
            logits = at_offset(given.logits, offset if offset % 2 else 60 - offset)
            targets = [at_offset(t, offset) for t in given.targets]
            value, got = loss.value_and_grad(logits, *targets, **given.options, grad_out=grad)
            assert got is grad
            assert_same_bits(value, want_value)
            assert_same_bits(grad, want_grad)


@every_dtype
@pytest.mark.parametrize("classes", CLASSES)
def test_alignment_of_softmaxes(classes, dtype, rng):
    x = rng.standard_normal((5, classes)).astype(dtype)
    dy = rng.standard_normal((5, classes)).astype(dtype)
    p, log_p = ll.softmax(x, axis=-1), ll.log_softmax(x, axis=-1)
    for offset in (4, 8, 20, 60, 1):
        assert_same_bits(ll.softmax(at_offset(x, offset), axis=-1, out=at_offset(x, 64 - offset)), p)
        assert_same_bits(ll.log_softmax(at_offset(x, offset), axis=-1), log_p)
        assert_same_bits(ll.logsumexp(at_offset(x, offset), axis=-1), ll.logsumexp(x, axis=-1))
        assert_same_bits(ll.softmax_vjp(at_offset(p, offset), at_offset(dy, 60)), ll.softmax_vjp(p, dy))
        assert_same_bits(ll.log_softmax_vjp(at_offset(log_p, offset), dy), ll.log_softmax_vjp(log_p, dy))


# ------------------------------------------------------------------------------------------ positions in the batch


def rows_of(arrays, rows):
    return [np.ascontiguousarray(array[rows]) for array in arrays]


@pytest.mark.parametrize("loss", PER_ROW, ids=str)
@every_dtype
@pytest.mark.parametrize("classes", CLASSES)
def test_position_in_the_batch(loss, classes, dtype, rng):
    given = loss.inputs(rng, (39, classes), dtype)
    per_row = {k: v for k, v in given.options.items() if k in ("sample_weight", "weight") and np.shape(v)[:1] == (39,)}
    fixed = {k: v for k, v in given.options.items() if k not in per_row}
    value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
    selections = [np.arange(39)[::-1], rng.permutation(39), np.arange(5, 22), *([i] for i in (0, 7, 15, 16, 31, 38))]
    for rows in selections:
        logits, *targets = rows_of((given.logits, *given.targets), rows)
        options = fixed | {k: np.ascontiguousarray(v[rows]) for k, v in per_row.items()}
        got_value, got_grad = loss.value_and_grad(logits, *targets, **options)
        assert_same_bits(got_value, value[rows])
        assert_same_bits(got_grad, grad[rows])


@every_dtype
@pytest.mark.parametrize("classes", [2, 3, 64, 129, 1000, 4097])
def test_position_along_a_strided_axis(classes, dtype, rng):
    logits = (4 * rng.standard_normal((3, classes, 37))).astype(dtype)
    target = rng.integers(0, classes, (3, 37))
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, axis=1, reduction="none")
    for columns in (np.arange(37)[::-1], rng.permutation(37), np.arange(4, 30)):
        got = ll.cross_entropy_value_and_grad(
            np.ascontiguousarray(logits[:, :, columns]), target[:, columns], axis=1, reduction="none"
        )
        assert_same_bits(got[0], loss[:, columns])
        assert_same_bits(got[1], grad[:, :, columns])


@every_dtype
def test_a_long_row_alone_or_among_others(dtype, rng):
    logits = (4 * rng.standard_normal((9, 50_000))).astype(dtype)
    target = rng.integers(0, 50_000, 9)
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
    for row in range(9):
        got = ll.cross_entropy_value_and_grad(logits[row : row + 1], target[row : row + 1], reduction="none")
        assert_same_bits(got[0], loss[row : row + 1])
        assert_same_bits(got[1], grad[row : row + 1])
        one_dimension = ll.cross_entropy_value_and_grad(logits[row], target[row], reduction="none")
        assert_same_bits(one_dimension[0], loss[row])
        assert_same_bits(one_dimension[1], grad[row])


# ------------------------------------------------------------------------- what else must not matter to the results


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
def test_the_loss_is_the_first_part_of_value_and_grad(loss, dtype, rng):
    for shape in ((40, 2), (23, 10), (9, 64), (5, 129), (4, 1000), (3, 4100), (2, 40_000)):
        given = loss.inputs(rng, shape, dtype)
        value, _ = loss.value_and_grad(given.logits, *given.targets, **given.options)
        assert_same_bits(loss.value(given.logits, *given.targets, **given.options), value)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
def test_in_place_and_into_given_outputs(loss, dtype, rng):
    for shape in ((40, 2), (23, 10), (9, 64), (5, 129), (4, 1000), (3, 4100)):
        given = loss.inputs(rng, shape, dtype)
        value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
        out = np.full_like(grad, 7)
        got_value, got = loss.value_and_grad(given.logits, *given.targets, **given.options, grad_out=out)
        assert got is out
        assert_same_bits(got, grad)
        assert_same_bits(got_value, value)
        logits = given.logits.copy()
        got_value, got = loss.value_and_grad(logits, *given.targets, **given.options, grad_out=logits)
        assert got is logits
        assert_same_bits(got, grad)
        assert_same_bits(got_value, value)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
def test_two_calls_give_the_same(loss, dtype, rng):
    given = loss.inputs(rng, (300, 700), dtype)
    first = loss.value_and_grad(given.logits, *given.targets, **given.options)
    second = loss.value_and_grad(given.logits, *given.targets, **given.options)
    assert_same_bits(first[0], second[0])
    assert_same_bits(first[1], second[1])
