"""`logitloss.torch` against PyTorch: values, derivatives, errors, and everything that goes on around a loss."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from child import run_python

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import logitloss.torch as lt  # noqa: E402
from logitloss import _core  # noqa: E402

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
OURS = {
    "cross_entropy": (lt.cross_entropy, F.cross_entropy),
    "binary_cross_entropy_with_logits": (lt.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits),
    "logsumexp": (lt.logsumexp, torch.logsumexp),
}
INF, NAN = float("inf"), float("nan")


class Seen(TorchDispatchMode):
    """The operators of this package that run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "logitloss":
            self.names.append(func._schema.name.removeprefix("logitloss::"))
        return func(*args, **(kwargs or {}))


def kernels_take(function, *arguments, **options):
    with Seen() as seen:
        function(*arguments, **options)
    return bool(seen.names)


def value_and_grad(function, x, *arguments, upstream=None, **options):
    x = x.detach().requires_grad_()
    value = function(x, *arguments, **options)
    (grad,) = torch.autograd.grad(value, x, torch.ones_like(value) if upstream is None else upstream)
    return value.detach(), grad


def in_float64(arguments):
    return [a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in arguments]


def assert_near(got, want, dtype):
    """To a rounding; `want`, of PyTorch in float64, has several. Sums that cancel are exact to their terms."""
    assert got.dtype == dtype
    assert got.shape == want.shape
    info, arithmetic = torch.finfo(dtype), torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    rtol = {torch.float64: 200, torch.float32: 10}.get(dtype, 1) * info.eps
    atol = 4 * arithmetic.eps * want.abs().max().item() + info.tiny
    torch.testing.assert_close(got.double(), want, rtol=rtol, atol=atol, equal_nan=True)


def logits_of(generator, *shape, dtype=torch.float64, scale=3.0):
    return (scale * torch.randn(shape, dtype=torch.float64, generator=generator)).to(dtype)


@pytest.fixture
def generator(rng):
    return torch.Generator().manual_seed(int(rng.integers(2**31)))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ------------------------------------------------------------------------------------------- PyTorch's own samples


@pytest.fixture(scope="module")
def op_infos():
    if importlib.util.find_spec("expecttest") is None:
        pytest.skip("PyTorch's samples need the package expecttest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return {op.name.removeprefix("nn.functional."): op for op in op_db}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", OURS)
@pytest.mark.filterwarnings("ignore")
def test_every_sample_of_pytorch(name, dtype, op_infos):
    ours, theirs = OURS[name]
    samples = list(op_infos[name].sample_inputs("cpu", dtype, requires_grad=False))
    assert len(samples) >= 5
    for sample in samples:
        arguments, options = list(sample.args), sample.kwargs
        wide = dict(zip(options, in_float64(options.values()), strict=True))
        want, want_grad = value_and_grad(theirs, sample.input.double(), *in_float64(arguments), **wide)
        got, grad = value_and_grad(ours, sample.input, *arguments, **options)
        assert_near(got, want, theirs(sample.input, *arguments, **options).dtype)
        assert_near(grad, want_grad, dtype)
    taken = [kernels_take(ours, sample.input, *sample.args, **sample.kwargs) for sample in samples]
    assert sum(taken) > 0.8 * len(samples)


# ------------------------------------------------------------------------------------------------------- derivatives


def calls(generator, dtype=torch.float64):
    """Losses as functions of the logits, which come first, with every kind of option."""
    x, small = logits_of(generator, 4, 5, dtype=dtype), logits_of(generator, 2, 3, 2, 2, dtype=dtype)
    labels = torch.tensor([0, 4, -100, 2])
    soft = torch.rand(4, 5, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.rand(5, generator=generator, dtype=torch.float64).to(dtype) + 0.5
    grid = torch.randint(0, 3, (2, 2, 2), generator=generator)
    for reduction in ("none", "sum", "mean"):
        r = {"reduction": reduction}
        yield x, lambda z, r=r: lt.cross_entropy(z, labels, **r)
        yield x, lambda z, r=r: lt.cross_entropy(z, labels, weight, label_smoothing=0.2, **r)
        yield x, lambda z, r=r: lt.cross_entropy(z, soft, weight, label_smoothing=0.2, **r)
        yield small, lambda z, r=r: lt.cross_entropy(z, grid, ignore_index=1, **r)
        yield x[0], lambda z, r=r: lt.cross_entropy(z, labels[0], weight, **r)
        yield x, lambda z, r=r: lt.binary_cross_entropy_with_logits(z, soft, weight, pos_weight=weight, **r)
        yield x, lambda z, r=r: lt.sigmoid_focal_loss(z, soft, **r)
        yield x, lambda z, r=r: lt.sigmoid_focal_loss(z, soft, alpha=-1, gamma=1.5, **r)
    yield x, lambda z: lt.logsumexp(z, 1)
    yield small, lambda z: lt.logsumexp(z, (0, -1), keepdim=True)


def test_first_and_second_derivatives(generator):
    for x, function in calls(generator):
        x.requires_grad_()
        assert torch.autograd.gradcheck(function, x)
        assert torch.autograd.gradgradcheck(function, x)


def test_third_derivatives(generator):
    x, labels = logits_of(generator, 4, 5).requires_grad_(), torch.tensor([0, 4, 1, 2])

    def third(function):
        values = function(x, labels, reduction="none")
        for _ in range(2):
            (values,) = torch.autograd.grad((values**2).sum(), x, create_graph=True)
        return torch.autograd.grad((values**2).sum(), x)[0]

    torch.testing.assert_close(third(lt.cross_entropy), third(F.cross_entropy))


def test_the_gradient_is_the_same_with_and_without_a_graph(generator):
    for x, function in calls(generator, torch.float32):
        x.requires_grad_()
        loss = function(x).sum()
        (plain,) = torch.autograd.grad(loss, x, retain_graph=True)
        (graph,) = torch.autograd.grad(loss, x, create_graph=True)
        assert graph.requires_grad
        assert torch.equal(plain, graph)


@pytest.mark.filterwarnings("ignore")  # of PyTorch about its own parts
def test_transforms_and_forward_mode_are_pytorchs(generator):
    x, labels = logits_of(generator, 4, 5), torch.tensor([0, 4, 1, 2])
    rows = torch.eye(4, dtype=torch.float64)
    direction = logits_of(generator, 4, 5)

    def forward_over_reverse(function):
        leaf = x.clone().requires_grad_()
        loss = function(leaf, labels, reduction="none")
        with torch.autograd.forward_ad.dual_level():
            upstream = torch.autograd.forward_ad.make_dual(torch.ones(4).double(), torch.arange(4).double())
            return torch.autograd.forward_ad.unpack_dual(torch.autograd.grad(loss, leaf, upstream)[0]).tangent

    def batched_upstream(function):
        leaf = x.clone().requires_grad_()
        loss = function(leaf, labels, reduction="none")
        return torch.autograd.grad(loss, leaf, rows, is_grads_batched=True)[0]

    for transformed in (
        lambda f: torch.func.grad(f)(x, labels),
        lambda f: torch.func.hessian(f)(x, labels),
        lambda f: torch.func.vmap(f)(x, labels),
        lambda f: torch.func.vmap(torch.func.grad(f))(x, labels),
        lambda f: torch.func.jvp(lambda z: f(z, labels), (x,), (direction,))[1],
        lambda f: torch.autograd.functional.hessian(lambda z: f(z, labels), x, vectorize=True),
        forward_over_reverse,
        batched_upstream,
    ):
        torch.testing.assert_close(transformed(lt.cross_entropy), transformed(F.cross_entropy))


def test_gradients_of_targets_and_weights_are_pytorchs(generator):
    x = logits_of(generator, 4, 5)
    soft = torch.rand(4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.rand(5, generator=generator, dtype=torch.float64).requires_grad_()
    for ours, theirs, options in (
        (lt.cross_entropy, F.cross_entropy, {}),
        (lt.cross_entropy, F.cross_entropy, {"weight": weight}),
        (lt.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits, {}),
    ):
        wanted = [soft, *options.values()]
        got = torch.autograd.grad(ours(x, soft, **options), wanted)
        want = torch.autograd.grad(theirs(x, soft, **options), wanted)
        for a, b in zip(got, want, strict=True):
            assert torch.equal(a, b)


def test_logits_that_changed_since_the_forward_pass_are_refused(generator):
    x = logits_of(generator, 4, 5).requires_grad_()
    hidden = x * 1.0
    loss = lt.cross_entropy(hidden, torch.tensor([0, 4, 1, 2]))
    hidden.detach().add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# ------------------------------------------------------------------------------------------------ dtypes and layouts


def layouts(x):
    """The numbers of x, (N, C, H, W), in other orders and places."""
    yield x.contiguous(memory_format=torch.channels_last)
    yield x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    wide = x.new_zeros([2 * n + 1 for n in x.shape])[1::2, 1::2, 1::2, 1::2]
    yield wide.copy_(x)
    yield torch.complex(x, -x).conj().imag if x.dtype in (torch.float32, torch.float64) else x  # a lazy negation


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_layout(dtype, generator):
    x = logits_of(generator, 2, 5, 3, 4, dtype=dtype)
    labels = torch.randint(0, 5, (2, 4, 3), generator=generator).transpose(1, 2)
    soft = torch.rand(2, 5, 3, 4, generator=generator).to(dtype)
    upstream = torch.rand(3, 1, 2, generator=generator).to(dtype).expand(3, 4, 2).permute(2, 0, 1)
    for function, target in (
        (lt.cross_entropy, labels),
        (lt.cross_entropy, soft),
        (lt.binary_cross_entropy_with_logits, soft),
    ):
        u = upstream if function is lt.cross_entropy else None
        theirs = OURS[function.__name__][1]
        wide = [x.double(), *in_float64([target])]
        want = value_and_grad(theirs, *wide, upstream=None if u is None else u.double(), reduction="none")
        for z in (x, *layouts(x)):
            assert torch.equal(z, x)
            got = value_and_grad(function, z, target, upstream=u, reduction="none")
            for a, b in zip(got, want, strict=True):
                assert_near(a, b, dtype)
            assert got[1].stride() == torch.empty_like(z).stride()
    row = logits_of(generator, 1, 5, dtype=dtype).expand(3, 5)  # one row of memory
    got = value_and_grad(lt.cross_entropy, row, torch.tensor([0, 1, 2]))
    for a, b in zip(got, value_and_grad(F.cross_entropy, row.double(), torch.tensor([0, 1, 2])), strict=True):
        assert_near(a, b, dtype)


def test_dtypes_of_losses_are_pytorchs(generator):
    """Of targets and weights of other dtypes too, and under autocast."""
    x, soft, weight = logits_of(generator, 4, 5), torch.rand(4, 5, generator=generator), torch.rand(5)
    taken = 0
    for autocast in (False, True):
        for dtype in FLOATS:
            for other in FLOATS:
                z, t, w = x.to(dtype), soft.to(other), weight.to(other)
                for ours, theirs, arguments, options in (
                    (lt.cross_entropy, F.cross_entropy, [t], {}),
                    (lt.cross_entropy, F.cross_entropy, [t, w], {"reduction": "none"}),
                    (lt.cross_entropy, F.cross_entropy, [t.argmax(1), w], {}),
                    (*OURS["binary_cross_entropy_with_logits"], [t, w], {}),
                    (*OURS["binary_cross_entropy_with_logits"], [t], {"pos_weight": w, "reduction": "none"}),
                    (lt.logsumexp, torch.logsumexp, [1], {}),
                ):
                    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                        try:
                            want, want_grad = value_and_grad(theirs, z, *arguments, **options)
                        except RuntimeError:
                            with pytest.raises(RuntimeError):
                                ours(z, *arguments, **options)
                            continue
                        got, grad = value_and_grad(ours, z, *arguments, **options)
                        taken += kernels_take(ours, z, *arguments, **options)
                    assert (got.dtype, grad.dtype) == (want.dtype, want_grad.dtype)
                    narrowest = max(torch.finfo(d).eps for d in (dtype, other, want.dtype))
                    torch.testing.assert_close(got, want, rtol=32 * narrowest, atol=4 * narrowest)
                    torch.testing.assert_close(grad, want_grad, rtol=32 * narrowest, atol=4 * narrowest)
    assert taken > 100


def test_labels_of_bytes(generator):
    x, labels = logits_of(generator, 4, 5), torch.tensor([0, 4, 1, 2], dtype=torch.uint8)
    for options in ({}, {"label_smoothing": 0.1, "ignore_index": 4}, {"reduction": "none"}):
        assert kernels_take(lt.cross_entropy, x, labels, **options)
        torch.testing.assert_close(lt.cross_entropy(x, labels, **options), F.cross_entropy(x, labels, **options))


def test_bfloat16_does_without_ml_dtypes():
    printed = run_python(
        textwrap.dedent("""
        import sys
        sys.modules["ml_dtypes"] = None
        import numpy as np, torch, logitloss as ll, logitloss.torch as lt
        x = torch.linspace(-3, 3, 20).reshape(4, 5).to(torch.bfloat16).requires_grad_()
        y = torch.tensor([0, 4, 1, 2])
        loss = lt.cross_entropy(x, y)
        loss.backward()
        want, grad = ll.cross_entropy_value_and_grad(x.detach().float(), y)
        assert loss.dtype == torch.bfloat16 and abs(float(loss) - want) < 2**-8 * want
        assert np.array_equal(x.grad.view(torch.int16), torch.from_numpy(grad).bfloat16().view(torch.int16))
        # The functions for arrays read such tensors too; the bits of a result are a field of that name.
        loss, grad = ll.cross_entropy_value_and_grad(x, y)
        assert loss == want
        assert np.array_equal(grad["bfloat16"], x.grad.view(torch.int16).numpy().view(np.uint16))
        assert ll.logsumexp(x, b=x).dtype == ll.logsumexp(x).dtype == np.float32
        print("done")
    """)
    )
    assert printed.strip() == "done"


def test_the_package_itself_does_not_import_pytorch():
    assert run_python("import sys, logitloss; print('torch' in sys.modules)") == "False"


# ----------------------------------------------------------------------------------------------------------- meaning


def test_confident_rows_keep_their_digits():
    for dtype, rtol in ((torch.float32, 1e-6), (torch.bfloat16, 2**-8)):
        x = torch.tensor([[40.0, 0.0], [-40.0, 0.0]], dtype=dtype)
        loss, grad = value_and_grad(lt.cross_entropy, x, torch.tensor([0, 1]), reduction="none")
        tail = np.exp(-40.0)
        np.testing.assert_allclose(loss.double(), [tail, tail], rtol=rtol)
        np.testing.assert_allclose(grad.double(), [[-tail, tail], [tail, -tail]], rtol=rtol)
        x = torch.tensor([40.0, -40.0], dtype=dtype)
        loss, grad = value_and_grad(
            lt.binary_cross_entropy_with_logits, x, torch.tensor([1.0, 0.0], dtype=dtype), reduction="none"
        )
        np.testing.assert_allclose(loss.double(), [tail, tail], rtol=rtol)
        np.testing.assert_allclose(grad.double(), [-tail, tail], rtol=rtol)


DIFFERENCES = {  # as docs/torch.md lists them: logits, labels, options; our loss and gradient, PyTorch's
    "ignored NaN": ([[NAN, 0.0]], [-100], {"reduction": "sum"}, 0.0, [[0.0, 0.0]], 0.0, [[NAN, NAN]]),
    "+inf elsewhere": ([[INF, 0.0]], [1], {}, INF, [[NAN, NAN]], NAN, [[NAN, NAN]]),
    "no weight": ([[1.0, 0.0]], [0], {"weight": torch.tensor([0.0, 1.0])}, NAN, [[0.0, 0.0]], NAN, [[NAN, NAN]]),
    "mask of probability 0": ([[0.0, -INF]], [[1.0, 0.0]], {}, 0.0, [[0.0, 0.0]], NAN, [[0.0, 0.0]]),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_the_differences_that_are_on_purpose(what):
    logits, target, options, *wanted = DIFFERENCES[what]
    x, target = torch.tensor(logits), torch.tensor(target)
    got = [
        *value_and_grad(lt.cross_entropy, x, target, **options),
        *value_and_grad(F.cross_entropy, x, target, **options),
    ]
    for result, want in zip(got, wanted, strict=True):
        torch.testing.assert_close(result, torch.tensor(want), equal_nan=True)


def test_where_all_rows_are_ignored_there_is_no_difference():
    x, target = torch.tensor([[1.0, 0.0]]), torch.tensor([-100])
    found = (value_and_grad(function, x, target) for function in (lt.cross_entropy, F.cross_entropy))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=0, atol=0)


def test_odd_exponents_of_the_focal_loss_have_gradients():
    for gamma in (INF, NAN, -0.5, 0.5):
        x = torch.tensor([3.0, -2.0, 20.0], requires_grad=True)
        loss = lt.sigmoid_focal_loss(x, torch.ones(3), gamma=gamma, reduction="sum")
        (grad,) = torch.autograd.grad(loss, x, create_graph=True)
        (second,) = torch.autograd.grad(grad.sum(), x)
        assert gamma != 0.5 or torch.isfinite(second).all(), gamma


def test_a_tensor_of_zeros_without_memory():
    zeros = torch._efficientzerotensor((2, 3))
    torch.testing.assert_close(lt.cross_entropy(zeros, Y[:2]), F.cross_entropy(zeros, Y[:2]))


def test_a_missing_torch_is_named():
    code = "import sys; sys.modules['torch'] = None; import logitloss.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs PyTorch: pip install" in done.stderr


def test_infinite_logits_of_binary_losses_have_limits():
    x, t = torch.tensor([INF, -INF, INF]), torch.tensor([1.0, 0.0, 0.0])
    assert lt.binary_cross_entropy_with_logits(x, t, reduction="none").tolist() == [0, 0, INF]
    assert F.binary_cross_entropy_with_logits(x, t, reduction="none").isnan().any()


def test_the_focal_loss_is_its_formula(generator):
    x, t = logits_of(generator, 4, 5), torch.randint(0, 2, (4, 5), generator=generator).double()
    p = torch.sigmoid(x)
    for alpha, gamma in ((0.25, 2.0), (0.9, 0.0), (-1, 1.5)):
        p_t = torch.where(t == 1, p, 1 - p)
        alpha_t = 1.0 if alpha < 0 else torch.where(t == 1, alpha, 1 - alpha)
        want = -alpha_t * (1 - p_t) ** gamma * p_t.log()
        torch.testing.assert_close(lt.sigmoid_focal_loss(x, t, alpha, gamma), want)
        torch.testing.assert_close(lt.sigmoid_focal_loss(x, t, alpha, gamma, "mean"), want.mean())
        assert kernels_take(lt.sigmoid_focal_loss, x, t, alpha, gamma)
        t_that_learns = t.clone().requires_grad_()  # is for PyTorch
        for reduction in ("none", "sum", "mean"):
            by_formula = lt.sigmoid_focal_loss(x, t_that_learns, alpha, gamma, reduction)
            torch.testing.assert_close(by_formula.detach(), lt.sigmoid_focal_loss(x, t, alpha, gamma, reduction))
    for bad in ({"reduction": "max"}, {"alpha": 2.0}, {"alpha": -0.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            lt.sigmoid_focal_loss(x, t, **bad)
    with pytest.raises(ValueError, match="must be the same as input size"):
        lt.sigmoid_focal_loss(x, t[0])


X, Y, T = torch.zeros(4, 5), torch.zeros(4, dtype=torch.int64), torch.zeros(4, 5)
BAD_CALLS = [
    ("cross_entropy", (X, torch.tensor([0, 5, 0, 0])), {}),
    ("cross_entropy", (X, torch.tensor([0, -1, 0, 0])), {"label_smoothing": 0.1}),
    ("cross_entropy", (torch.zeros(2, 3, 4), torch.full((2, 4), 3)), {"reduction": "none"}),
    ("cross_entropy", (X, Y[:3]), {}),
    ("cross_entropy", (X, Y.int()), {}),
    ("cross_entropy", (X, Y.bool()), {}),
    ("cross_entropy", (X, T[:, :4]), {}),
    ("cross_entropy", (X, T), {"ignore_index": 1}),
    ("cross_entropy", (X, Y), {"ignore_index": None}),
    ("cross_entropy", (X, Y, torch.ones(4)), {}),
    ("cross_entropy", (X, Y, torch.ones(5, 1)), {}),
    ("cross_entropy", (X, Y, torch.ones(5).double()), {}),
    ("cross_entropy", (X, Y), {"reduction": "max"}),
    ("cross_entropy", (X, Y), {"reduction": None}),
    ("cross_entropy", (X, Y), {"label_smoothing": 1.5}),
    ("cross_entropy", (X.int(), Y), {}),
    ("cross_entropy", (X.tolist(), Y), {}),
    ("cross_entropy", (torch.tensor(0.0), torch.tensor(0)), {}),
    ("cross_entropy", (torch.zeros(0, 5), Y[:0]), {"reduction": "max"}),
    ("cross_entropy", (None, Y), {}),
    ("cross_entropy", (X, None), {}),
    ("cross_entropy", (torch.zeros(2, 5, 3), torch.zeros(2, 3, dtype=torch.uint8)), {}),
    ("binary_cross_entropy_with_logits", (X, T[:3]), {}),
    ("binary_cross_entropy_with_logits", (X, Y), {}),
    ("binary_cross_entropy_with_logits", (X, T.bool()), {}),
    ("binary_cross_entropy_with_logits", (X, T, torch.ones(4)), {}),
    ("binary_cross_entropy_with_logits", (X[0], T[0], torch.ones(4, 5)), {}),
    ("binary_cross_entropy_with_logits", (X, T), {"pos_weight": torch.ones(3)}),
    ("binary_cross_entropy_with_logits", (X, T), {"reduction": "max"}),
    ("binary_cross_entropy_with_logits", (X, T.tolist()), {}),
    ("logsumexp", (X, 2), {}),
    ("logsumexp", (X, (0, 0)), {}),
    ("logsumexp", (X, (0, -2)), {}),
    ("logsumexp", (X, "0"), {}),
    ("logsumexp", (X.tolist(), 0), {}),
]


@pytest.mark.parametrize("number", range(len(BAD_CALLS)))
def test_errors_are_pytorchs(number):
    name, arguments, options = BAD_CALLS[number]
    ours, theirs = OURS[name]
    with pytest.raises(Exception) as wanted:  # noqa: PT011
        theirs(*arguments, **options)
    with pytest.raises(type(wanted.value)) as raised:
        ours(*arguments, **options)
    assert type(raised.value) is type(wanted.value)
    assert str(raised.value) == str(wanted.value)


@pytest.mark.filterwarnings("ignore:size_average and reduce")
def test_what_the_kernels_do_not_take_is_pytorchs():
    x = torch.arange(20.0).reshape(4, 5)
    labels = torch.tensor([0, 4, 1, 2])
    for name, arguments, options in (
        ("cross_entropy", (x, labels), {"size_average": False}),
        ("cross_entropy", (x, labels), {"reduce": False}),
        ("cross_entropy", (x[:0], labels[:0]), {}),
        ("cross_entropy", (x[:0], labels[:0]), {"reduction": "sum"}),
        ("cross_entropy", (x.to("meta"), labels.to("meta")), {}),
        ("binary_cross_entropy_with_logits", (x, torch.ones(4, 5).double()), {}),
        ("logsumexp", (x.int(), 1), {}),
        ("logsumexp", (x[:, :0], 1), {}),
        ("logsumexp", (x, 1), {"out": torch.empty(4)}),
    ):
        ours, theirs = OURS[name]
        got, want = ours(*arguments, **options), theirs(*arguments, **options)
        assert (got.dtype, got.shape, got.device) == (want.dtype, want.shape, want.device)
        if not got.is_meta:
            assert torch.equal(got, want) or (got.isnan().all() and want.isnan().all())
        assert not kernels_take(ours, *arguments, **options)


def test_subclasses_of_tensors_stay(generator):
    class Named(torch.Tensor):
        pass

    x = logits_of(generator, 4, 5).as_subclass(Named)
    assert type(lt.cross_entropy(x, Y)) is type(F.cross_entropy(x, Y)) is Named
    parameter = torch.nn.Parameter(logits_of(generator, 4, 5))
    assert kernels_take(lt.cross_entropy, parameter, Y)


def test_modules_are_those_of_pytorch(generator):
    x, soft = logits_of(generator, 4, 5, dtype=torch.float32), torch.rand(4, 5, generator=generator)
    weight = torch.rand(5, generator=generator)
    for name, target, options in (
        ("CrossEntropyLoss", Y, {"weight": weight, "label_smoothing": 0.1, "ignore_index": 0, "reduction": "sum"}),
        ("CrossEntropyLoss", soft, {"weight": weight, "reduction": "none"}),
        ("BCEWithLogitsLoss", soft, {"weight": weight, "pos_weight": weight, "reduction": "sum"}),
    ):
        ours, theirs = getattr(lt.nn, name)(**options), getattr(torch.nn, name)(**options)
        assert isinstance(ours, type(theirs))
        assert repr(ours) == repr(theirs)
        ours.load_state_dict(theirs.state_dict())
        for module in (ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            torch.testing.assert_close(module(x, target), theirs(x, target))
            assert kernels_take(module, x, target)
        torch.testing.assert_close(ours.double()(x.double(), target), theirs.double()(x.double(), target))


# ------------------------------------------------------------------------------------------------- dispatcher, compiler


def operator_calls(generator):
    x = logits_of(generator, 3, 4, dtype=torch.float32)
    soft, weight, labels = torch.rand(3, 4), torch.rand(4), torch.tensor([0, 3, -100])
    f32 = torch.float32
    each = torch.rand(3, 4)
    yield "cross_entropy", torch.rand(3), (x, labels, weight, "none", -100, 0.1, f32)
    yield "cross_entropy", torch.rand(()), (x.to(torch.bfloat16), soft, None, "mean", -100, 0.0, f32)
    yield "binary_cross_entropy_with_logits", each, (x.t().contiguous().t(), soft, weight, None, "none", f32)
    yield "sigmoid_focal_loss", torch.rand(()), (x, soft, 0.25, 2.0, "sum", f32)
    yield "logsumexp", torch.rand(4), (x, [0], f32)


def test_operators_keep_the_rules_of_the_dispatcher(generator):
    for name, upstream, arguments in operator_calls(generator):
        for operator, given in ((name, arguments), (f"{name}_backward", (upstream, *arguments))):
            torch.library.opcheck(getattr(torch.ops.logitloss, operator).default, given)


def step(x, labels, soft, weight):
    """Every loss, and gradients that come together."""
    loss = lt.cross_entropy(2 * x, labels, weight, label_smoothing=0.1) + lt.cross_entropy(x, soft)
    loss = loss + lt.binary_cross_entropy_with_logits(x, soft, weight, pos_weight=weight, reduction="none").mean()
    return loss + lt.sigmoid_focal_loss(x, soft, reduction="sum") + lt.logsumexp(x, 1, keepdim=True).mean()


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.filterwarnings("ignore")
def test_compiled_functions_have_no_breaks_and_the_same_numbers(backend, generator):
    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend=backend)
    for rows in (6, 9):  # the second time with a dynamic shape
        x = logits_of(generator, rows, 5, dtype=torch.float32).requires_grad_()
        labels = torch.randint(0, 5, (rows,), generator=generator)
        soft, weight = torch.rand(rows, 5, generator=generator), torch.rand(5, generator=generator)
        results = [
            (loss, *torch.autograd.grad(loss, x)) for loss in (f(x, labels, soft, weight) for f in (compiled, step))
        ]
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x, labels, soft, weight), results[1][0].detach())


def test_compiled_graphs_have_our_operators(generator):
    graphs = []

    def keep(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    soft, weight = torch.rand(3, 5, generator=generator), torch.rand(5, generator=generator)
    torch.compile(step, fullgraph=True, backend=keep)(torch.zeros(3, 5), Y[:3], soft, weight)
    names = {str(node.target) for graph in graphs for node in graph.graph.nodes if node.op == "call_function"}
    for name in (*OURS, "sigmoid_focal_loss"):
        assert f"logitloss.{name}.default" in names


def test_a_profiler_sees_the_operators(generator):
    x = logits_of(generator, 4, 5).requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        lt.cross_entropy(x, Y).backward()
    names = {event.key for event in profile.key_averages()}
    assert names >= {"logitloss::cross_entropy", "logitloss::cross_entropy_backward"}


# ------------------------------------------------------------------------------------------- threads, processes, memory


def test_threads_are_those_of_pytorch(generator, monkeypatch):
    asked = []
    value, both = _core.cross_entropy, _core.cross_entropy_value_and_grad
    monkeypatch.setattr(_core, "cross_entropy", lambda *a: (asked.append(a[-1]), value(*a))[1])
    monkeypatch.setattr(_core, "cross_entropy_value_and_grad", lambda *a: (asked.append(a[-1]), both(*a))[1])
    x, labels = logits_of(generator, 2000, 50, dtype=torch.float32), torch.randint(0, 50, (2000,), generator=generator)
    results = []
    for threads in (1, 3, 2):
        torch.set_num_threads(threads)
        results.append(value_and_grad(lt.cross_entropy, x, labels))
        assert asked[-2:] == [threads, threads]
    for loss, grad in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(grad, results[0][1])


class Losses(torch.utils.data.Dataset):
    """Computes in the workers."""

    def __init__(self, x, labels):
        self.x, self.labels = x, labels

    def __len__(self):
        return 4

    def __getitem__(self, number):
        loss, grad = value_and_grad(lt.cross_entropy, self.x + number, self.labels, reduction="sum")
        return loss, grad


def test_workers_of_a_data_loader(generator):
    torch.set_num_threads(2)
    x, labels = logits_of(generator, 3000, 40, dtype=torch.float32), torch.randint(0, 40, (3000,), generator=generator)
    data = Losses(x, labels)
    here = [data[number] for number in range(len(data))]  # in parallel, before the fork
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that forks and threads do not mix
        there = list(torch.utils.data.DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="fork"))
    assert len(there) == len(here)
    for got, want in zip(there, here, strict=True):
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_one_array_of_the_logits_size_is_all_that_a_step_needs():
    printed = run_python(
        textwrap.dedent("""
        import torch, logitloss.torch as lt
        from torch.nn import functional as F
        torch.set_num_threads(1)

        def peak(function):
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # the high-water mark starts anew
            before = status("VmRSS")
            function(x, labels).backward()
            x.grad = None
            return status("VmHWM") - before

        def status(name):
            return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

        small = torch.zeros(2, 3, requires_grad=True)
        lt.cross_entropy(small, torch.tensor([0, 1])).backward()
        F.cross_entropy(small, torch.tensor([0, 1])).backward()
        x, labels = torch.randn(2000, 8000, requires_grad=True), torch.randint(0, 8000, (2000,))
        size = x.nbytes
        before = x.detach().clone()
        print(peak(lt.cross_entropy) / size, peak(F.cross_entropy) / size, torch.equal(x, before))
    """)
    )
    ours, theirs, kept = printed.split()
    assert 0.9 < float(ours) < 1.2
    assert float(theirs) > float(ours) + 0.9
    assert kept == "True"
