"""Where training and labelling run."""

import torch
from accelerate import PartialState


def training_device() -> torch.device:
    """Return the device of this process, set up for utterances of every length."""
    device = PartialState().device
    if device.type == "cuda":
        # cuDNN's attention builds a plan for every new shape, and hardly two batches of speech have the same
        # one: a step of a 0.2 M student took 165 ms on an H100 with it, and 48 ms without.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return device
