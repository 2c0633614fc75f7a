"""Why a module cannot be converted."""

import re

import pytest
from torch import nn

from hwnas.export.diagnosis import conversion_error

WHERE = "While executing %conv2d = call_function[target=torch.ops.aten.conv2d.default]"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError(f"no lowering. {WHERE}"), r"does not know the operator aten\.conv2d\S*, which layer 0 "),
        (OSError(f"No space left on device. {WHERE}"), r"litert converter failed: OSError: No space left on device"),
    ],
)
def test_an_operator_is_to_blame_only_for_errors_of_its_own(error, message):
    found = conversion_error(nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 8, 8), "litert", error)
    assert re.search(message, str(found))
