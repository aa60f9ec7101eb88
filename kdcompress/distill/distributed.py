"""Where training and labelling run, and beside whom."""

import os

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """Join the processes that torchrun or accelerate launched, if any; the first call decides.

    Without a GPU Accelerate takes them for unrelated ones unless it is told that they run on CPUs.
    """
    launched = int(os.environ.get("LOCAL_RANK", -1)) >= 0
    return PartialState(cpu=launched and not torch.cuda.is_available())


def training_device() -> torch.device:
    """Return the device of this process, set up for utterances of every length."""
    device = processes().device
    if device.type == "cuda":
        # cuDNN's attention builds a plan for every new shape, and hardly two batches of speech have the same
        # one: a step of a 0.2 M student took 165 ms on an H100 with it, and about 50 without.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return device
