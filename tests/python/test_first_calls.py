"""Every function as the first one of a process that has set floating-point modes of its own.

A child imports the library and forks for each function and mode: what is called there is called first.
"""

from __future__ import annotations

import platform
import sys

import pytest
from child import run_python
from functions import FUNCTIONS

import logitloss as ll

WITHOUT_ARITHMETIC = {
    "TokenLogProbs",
    "__version__",
    "available_isas",
    "get_num_threads",
    "isa",
    "set_num_threads",
    "show_config",
}

FIRST_CALLS = """
import ctypes, ctypes.util, os, platform
import numpy as np
import logitloss as ll
from functions import CLASSES, FUNCTIONS, ROWS

libm = ctypes.CDLL(ctypes.util.find_library("m"))
# Where fenv_t has the word that matters, and its bits: upwards, downwards, towards zero, subnormals flushed.
offset, modes = {
    "x86_64": (28, (0x4000, 0x2000, 0x6000, 0x8040)),
    "aarch64": (0, (1 << 22, 2 << 22, 3 << 22, 1 << 24)),
}[platform.machine()]

def set_modes(bits):
    environment = (ctypes.c_uint32 * 16)()
    libm.fegetenv(environment)
    environment[offset // 4] = environment[offset // 4] & ~0xE040 & ~(7 << 22) | bits
    libm.fesetenv(environment)

FLOATS = dict(label_smoothing=0.1, z_loss=0.01, softcap=77.7, scale=1.1, margin=0.3, normalizer=3.3, gamma=1.7,
              alpha=0.3, base=3.3, eps=1e-7, temperature=1.7)
TINY = np.array([0.1, 1e-310, 0.7, 0.3])
WEIGHTS = dict(class_weight=np.array([0.1, 0.7, 1e-310]), sample_weight=TINY, weight=TINY[:, None],
               pos_weight=TINY[:, None], b=TINY[:, None] * np.ones((1, CLASSES)), upstream=0.3, d_entropy=TINY,
               lse=TINY)

def plain(function):
    return {name: value for name, value in function.arguments().items() if not name.endswith("out")}

def with_options(function):
    arguments = plain(function)
    for name in function.floats:
        if name != "ignore_value" and not (name == "margin" and function.probabilities):
            arguments[name] = FLOATS[name]
    return arguments | {name: WEIGHTS[name] for name in function.weights}

def wide(function):  # the last bit of an option is seen
    arguments = with_options(function)
    return arguments | {function.first: arguments[function.first].astype(float)}

def subnormal(function):  # losses and gradients of confident rows
    return plain(function) | {function.first: np.float32([[95, 0, 0], [0, -95, 0], [0, 0.5, 90], [1e-40, 0.3, 0.1]])}

def state():
    pieces = [ll.LogSumExp().update(np.array([[0.1, 0.7], [3.3, x]])) for x in (0.3, 1e6)]
    return pieces[0].merge(pieces[1]).value()

def shards():
    options = dict(num_classes=5, scale=1.1, margin=0.3, z_loss=0.01, label_smoothing=0.1)
    pieces = [ll.CrossEntropyState(np.array([[0.1, 0.7], [3.3, x]]), [1, 4], first_class=first, **options)
              for first, x in ((0, 0.3), (2, 1e6))]
    pieces.append(ll.CrossEntropyState(np.array([[95.0], [0.7]]), [1, 4], first_class=4, **options))
    state = pieces[0].merge(pieces[1]).merge(pieces[2])
    return state.loss(), state.grad(np.array([[0.1, 0.7], [3.3, 0.3]]))

calls = [("LogSumExp", state), ("CrossEntropyState", shards)]
for function in FUNCTIONS:
    for make in (plain, with_options, wide) + ((subnormal,) if function.first != "probs" else ()):
        calls.append((function.name, lambda f=function, a=make(function): f.call(**a)))

def results(call):
    got = call()
    return b"".join(np.asarray(part).tobytes() for part in (got if isinstance(got, tuple) else (got,)))

different = set()
for name, call in calls:
    for bits in modes:
        child = os.fork()
        if child == 0:
            set_modes(bits)
            got = results(call)
            set_modes(0)
            os._exit(got != results(call))
        if os.waitpid(child, 0)[1] != 0:
            different.add((name, hex(bits)))
set_modes(modes[2])
third = np.float32(1) / np.float32(3)
set_modes(0)
print(len(calls) > 60, third < np.float32(1) / np.float32(3), sorted(different))
"""


def test_every_function_that_computes_has_a_call():
    called = {function.call.__name__ for function in FUNCTIONS} | {"LogSumExp", "CrossEntropyState"}
    assert called == set(ll.__all__) - WITHOUT_ARITHMETIC


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and knows the layout of fenv_t of glibc")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="modes are known for x86-64 and 64-bit Arm")
@pytest.mark.parametrize("isa", ll.available_isas())
def test_the_callers_modes_change_no_bit(isa):
    assert run_python(FIRST_CALLS, LOGITLOSS_ISA=isa) == "True True []"
