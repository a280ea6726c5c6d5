"""What every test module may ask for."""

from __future__ import annotations

import zlib

import numpy as np
import pytest


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of this test's own: the same in every run, others in every test."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
