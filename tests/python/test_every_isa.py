"""The promises of accuracy and of what is not finite, kept by every instruction set at 1, 2 and 5 threads.

The modules that check them run again in processes of their own with the instruction set forced, in a shortened form;
that the bits are the same on a wider corpus is the business of test_same_bits.
"""

from pathlib import Path

import pytest
from child import start_python

import logitloss as ll

HERE = Path(__file__).parent
MODULES = ("test_accuracy.py", "test_not_finite.py", "test_probabilities.py", "test_information.py")
SELECTED = (
    "test_log_sum_exp and (10- or 129 or 4097) or test_cross_entropy_of_every_lead and (10- or 129)"
    " or test_bce_against or (masked_class and (10- or 4100)) or test_plus_infinity and (10- or 4100)"
    " or test_a_nan_poisons and (10- or 4100) or minus_0"
)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("isa", ll.available_isas())
def test_every_isa(isa, threads):
    modules = [str(HERE / name) for name in MODULES]
    done = start_python(
        *("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *modules, "-k", SELECTED),
        timeout=300,
        LOGITLOSS_ISA=isa,
        OMP_NUM_THREADS=str(threads),
        LOGITLOSS_OVERSUBSCRIBE="1",
    )
    summary = done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert int(summary.split(" passed")[0].split()[-1]) >= 60, summary
