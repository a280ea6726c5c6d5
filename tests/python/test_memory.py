"""Nothing of the logits' size is allocated besides a gradient that was asked for and not given: on 256 MB of logits."""

import sys

import pytest
from child import run_python

if not sys.platform.startswith("linux"):
    pytest.skip("the peak of the resident memory is read as Linux gives it", allow_module_level=True)

LIMIT = 24 << 20  # bytes: buffers of the threads, labels, losses of the rows

PRELUDE = """
import numpy as np
import logitloss as ll

def peak():
    # Not ru_maxrss: that starts from the peak of the process that started this one.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) * 1024

def filled(shape, dtype):
    a = np.zeros(shape, dtype)
    a.reshape(-1)[...] = 1  # touches every page
    a.reshape(-1)[::1001] = 2
    return a

small = np.ones((8, 512), np.float32)
ll.cross_entropy_value_and_grad(small, np.zeros(8, int), grad_out=small)  # the thread pool and its buffers exist
"""

CALLS = {
    "logsumexp": "logits = filled((512, 131072), 'f4')\nbefore = peak()\nll.logsumexp(logits, axis=-1)",
    "logsumexp over everything": "logits = filled((512, 131072), 'f4')\nbefore = peak()\nll.logsumexp(logits)",
    "logsumexp along axis 0": "logits = filled((512, 131072), 'f4')\nbefore = peak()\nll.logsumexp(logits, axis=0)",
    "cross_entropy": """
logits = filled((512, 131072), 'f4')
target = np.arange(512)
before = peak()
ll.cross_entropy(logits, target)
ll.cross_entropy(logits, target, label_smoothing=0.1, z_loss=0.1, softcap=9.0, scale=2.0)
ll.cross_entropy_value_and_grad(logits, target, grad_out=logits)
""",
    "few classes": """
logits = filled((6_710_886, 10), 'f4')
target = np.zeros(6_710_886, np.uint8)
before = peak()
ll.cross_entropy(logits, target)
ll.cross_entropy_value_and_grad(logits, target, grad_out=logits)
""",
    "strided class axis": """
logits = filled((8, 1000, 8389), 'f4')
target = np.zeros((8, 8389), int)
before = peak()
ll.cross_entropy_value_and_grad(logits, target, axis=1, grad_out=logits)
""",
    "negative strides": """
logits = filled((512, 131072), 'f4')[::-1, ::-1]
target = np.zeros(512, int)
before = peak()
ll.cross_entropy(logits, target)
ll.cross_entropy_value_and_grad(logits, target, grad_out=logits)
""",
    "byteswapped": """
logits = filled((512, 131072), np.dtype('f4').newbyteorder())
before = peak()
ll.cross_entropy(logits, np.zeros(512, int))
ll.logsumexp(logits, axis=1)
ll.bce_with_logits(logits, np.broadcast_to(np.float32(1), logits.shape))
""",
    "unaligned": """
logits = filled(268435457, 'u1')[1:].view('f4').reshape(512, 131072)
before = peak()
ll.cross_entropy(logits, np.zeros(512, int))
ll.logsumexp(logits, axis=1)
""",
    "float64": """
logits = filled((256, 131072), 'f8')
before = peak()
ll.cross_entropy_value_and_grad(logits, np.zeros(256, int), grad_out=logits)
""",
    "float16": """
logits = filled((1024, 131072), 'f2')
before = peak()
ll.logsumexp(logits, axis=0)
ll.cross_entropy_value_and_grad(logits, np.zeros(1024, int), grad_out=logits)
""",
    "bfloat16": """
import ml_dtypes
logits = filled((1024, 131072), ml_dtypes.bfloat16)
before = peak()
ll.cross_entropy_value_and_grad(logits, np.zeros(1024, int), grad_out=logits)
ll.softmax(logits, axis=1, out=logits)
""",
    "probabilities": """
logits = filled((256, 131072), 'f4')
target = filled((256, 131072), 'f4')
before = peak()
ll.cross_entropy(logits, target)
ll.cross_entropy_value_and_grad(logits, target, grad_out=logits)
""",
    "regression": """
pred = filled((512, 131072), 'f4')
target = np.broadcast_to(np.float64(1), pred.shape)
weight = np.ones(131072, np.float32)
before = peak()
ll.root_mean_squared_error(pred, target, weight=weight)
ll.mean_squared_error_value_and_grad(pred, target, weight=weight, grad_out=pred)
""",
    "probabilities in place of logits": """
p, bits = filled((512, 131072), 'f4'), filled((512, 131072), 'f4')
target = np.arange(512)
soft = np.broadcast_to(np.float32(0.5), p.shape)
before = peak()
ll.entropy(p)
ll.kl_divergence(p, soft)
ll.entropy_from_logits(p, axis=0)
ll.accuracy(p, target, top_k=5)
ll.binary_cross_entropy(p, soft, eps=1e-7)
ll.cross_entropy_from_probs_value_and_grad(p, soft, eps=1e-7, grad_out=p)
ll.cross_entropy_from_probs_value_and_grad(p, target, eps=1e-7, grad_out=p)
ll.self_information(p, out=bits)
""",
    "softmax in place": """
logits = filled((512, 131072), 'f4')
before = peak()
ll.softmax(logits, axis=-1, out=logits)
ll.log_softmax(logits, axis=-1, out=logits)
""",
    "softmax products": """
y, dy = filled((256, 131072), 'f4'), filled((256, 131072), 'f4')
before = peak()
ll.softmax_vjp(y, dy, out=dy)
ll.log_softmax_vjp(y, dy, out=y)
""",
    "weighted logsumexp": """
a = filled((512, 131072), 'f4')
b = np.linspace(-1, 1, 131072, dtype=np.float32)
before = peak()
ll.logsumexp(a, axis=-1, b=b, return_sign=True)
ll.logsumexp_value_and_grad(a, axis=-1, grad_out=a)
""",
    "LogSumExp": """
a = filled((512, 131072), 'f4')
before = peak()
ll.LogSumExp(axis=0).update(a[:100]).update(a[100:]).value()
""",
    "one-hot bytes": """
logits, target = filled((256, 131072), 'f4'), filled((256, 131072), 'u1')
before = peak()
ll.cross_entropy_value_and_grad(logits, target, label_smoothing=0.1, grad_out=logits)
""",
    "a memory-mapped file": """
import tempfile
file = tempfile.TemporaryFile()
file.truncate(1 << 28)
logits = np.memmap(file, np.float32, 'r', shape=(512, 131072))
before = peak()
def anonymous():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["RssAnon"].split()[0]) * 1024
at_first = anonymous()
ll.cross_entropy(logits, np.zeros(512, int))
peak = lambda: before + anonymous() - at_first  # pages of the file count as resident
""",
    "focal loss": """
logits = filled((512, 131072), 'f4')
target = np.broadcast_to(np.uint8(1), logits.shape)
before = peak()
ll.sigmoid_focal_loss(logits, target, label_smoothing=0.1)
ll.sigmoid_focal_loss_value_and_grad(logits, target, grad_out=logits)
""",
    "Hessian diagonals": """
logits = filled((256, 131072), 'f8')
grad, hess = filled(logits.shape, 'f4'), filled(logits.shape, 'f4')
target = np.zeros(256, np.float32)
before = peak()
ll.cross_entropy_grad_hess(logits, target, hessian="upper", grad_out=grad, hess_out=hess)
ll.cross_entropy_grad_hess(logits.reshape(-1, 8).T, np.zeros(8), axis=1, grad_out=grad.reshape(-1, 8).T,
                           hess_out=hess.reshape(-1, 8).T)
ll.cross_entropy_grad_hess(logits.reshape(8, -1).T, np.zeros(1 << 22), grad_out=grad.reshape(8, -1).T,
                           hess_out=hess.reshape(8, -1).T)
ll.bce_with_logits_grad_hess(logits, np.broadcast_to(np.uint8(1), logits.shape), grad_out=grad, hess_out=hess)
""",
    "bce with everything": """
logits = filled((256, 131072), 'f4')
target, weight = filled((256, 131072), 'i1'), filled((256, 131072), 'f2')
before = peak()
ll.bce_with_logits_value_and_grad(
    logits, target, weight=weight, pos_weight=np.ones(131072), ignore_value=2, label_smoothing=0.1, grad_out=logits)
""",
    "bce": """
logits = filled((512, 131072), 'f4')
target = np.broadcast_to(np.uint8(1), logits.shape)
weight = np.ones(131072, np.float32)
before = peak()
ll.bce_with_logits(logits, target, weight=weight, pos_weight=np.ones((512, 1)))
ll.bce_with_logits_value_and_grad(logits, target, grad_out=logits)
""",
}


@pytest.mark.parametrize("call", CALLS)
def test_no_copy_of_the_logits(call):
    grown = int(run_python(PRELUDE + CALLS[call] + "\nprint(peak() - before)", timeout=300))
    assert grown < LIMIT, f"{grown >> 20} MB were allocated"


def test_the_measurement_sees_a_copy():
    code = PRELUDE + "logits = filled((512, 131072), 'f4')\nbefore = peak()\nlogits + 1\nprint(peak() - before)"
    assert int(run_python(code)) > 200 << 20


def test_a_gradient_that_was_asked_for_is_all_that_is_allocated():
    code = (
        PRELUDE
        + "logits = filled((512, 131072), 'f4')\nbefore = peak()\nll.softmax(logits, axis=1)\nprint(peak() - before)"
    )
    assert (200 << 20) < int(run_python(code)) < (256 << 20) + LIMIT
