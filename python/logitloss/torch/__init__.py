"""The losses for PyTorch: functions and modules in place of its own, with the kernels of this package on the CPU.

>>> import torch
>>> from logitloss.torch import cross_entropy  # in place of torch.nn.functional's
>>> logits = torch.tensor([[2.0, 1.0, 0.1]], requires_grad=True)
>>> cross_entropy(logits, torch.tensor([0])).backward()
>>> print([round(each, 4) for each in logits.grad[0].tolist()])
[-0.341, 0.2424, 0.0986]
"""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ModuleNotFoundError("logitloss.torch needs PyTorch: pip install 'logitloss[torch]'")

from . import nn
from ._functional import binary_cross_entropy_with_logits, cross_entropy, logsumexp, sigmoid_focal_loss

__all__ = ["binary_cross_entropy_with_logits", "cross_entropy", "logsumexp", "nn", "sigmoid_focal_loss"]
