"""Which number format `--precision auto` is, and what cannot be had."""

import pytest
import torch

from cellmemory import device
from cellmemory.errors import InputError


@pytest.mark.parametrize(
    ("variant", "native", "found"), [("standard", True, "bf16"), ("standard", False, "fp32"), ("light", True, "fp32")]
)
def test_auto_is_bf16_where_the_processor_multiplies_it_itself(monkeypatch, variant, native, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    runtime = device.start("cpu", "auto", 1, 0, variant)
    assert runtime.precision == found
    assert runtime.number_format == (torch.bfloat16 if found == "bf16" else torch.float32)
    assert device.start("cpu", "fp32", 1, 0, variant).number_format == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_only_where_it_was_asked_for():
    assert device.start("auto", "auto", 1, 0).device == "cpu"
    with pytest.raises(InputError, match="no usable GPU"):
        device.start("cuda", "auto", 1, 0)
