"""Random combinations of options give the same bits on every instruction set, with 1, 2 and 5 threads, with and without
a gradient, and over the logits themselves. LOGITLOSS_RANDOM_OPTIONS is the number of calls, 1000 by default (a third if
a sample is asked for), or FIRST:COUNT for others than the first ones.
"""

import os

import numpy as np
import random_options
from checks import SAMPLE, spares
from child import start_python

import logitloss as ll


def printed(isa, first, count):
    done = start_python(
        *(random_options.__file__, first, count),
        timeout=60 + int(count),
        LOGITLOSS_ISA=isa,
        LOGITLOSS_OVERSUBSCRIBE="1",
        OMP_NUM_THREADS=str(max(random_options.THREADS)),
    )
    assert done.returncode == 0, f"{isa}: {done.stderr}"
    assert done.stderr == "", f"{isa}: {done.stderr}"
    return done.stdout.splitlines()


def test_random_options_give_the_same_bits_everywhere():
    *first, count = os.environ.get("LOGITLOSS_RANDOM_OPTIONS", str(1000 // (SAMPLE or 1))).split(":")
    counts = {isa: int(count) // (4 if spares(isa) else 1) for isa in ll.available_isas()}
    expected, *others = (printed(isa, *(first or ["0"]), str(n)) for isa, n in counts.items())
    assert [len(lines) for lines in (expected, *others)] == list(counts.values())
    for isa, lines in zip(ll.available_isas()[1:], others, strict=True):
        different = [line for line, other in zip(lines, expected, strict=not spares(isa)) if line != other]
        assert not different, f"{isa} and {ll.available_isas()[0]}: {len(different)} differ, first: {different[:3]}"


def test_the_checksum_sees_order_sign_and_dtype():
    numbers = np.float32([1.0, 2.0])
    sums = [random_options.checksum((a,)) for a in (numbers, numbers[::-1], -numbers, numbers.astype(np.float64))]
    assert len(set(sums)) == len(sums)
