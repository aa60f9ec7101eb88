"""Training goes where Accelerate says, without attention that plans for every shape."""

import pytest
import torch

from kdcompress.distill.distributed import training_device


def test_without_a_gpu_it_is_the_cpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert training_device() == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cudnn_plans_no_attention_for_every_length() -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    assert training_device().type == "cuda"
    assert not torch.backends.cuda.cudnn_sdp_enabled()
