"""Each part of the stress run once, so that it stays able to run; `nox -s stress` does it some hundred times."""

import warnings

import numpy as np
import pytest
import stress


@pytest.mark.parametrize(
    "part", [part for part in stress.PARTS if part is not stress.kills], ids=lambda part: part.__name__
)
def test_the_promises_hold(part, tmp_path):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        part(np.random.RandomState(0), tmp_path)
