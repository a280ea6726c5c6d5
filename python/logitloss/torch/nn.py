"""Loss modules, in place of those of ``torch.nn``."""

from __future__ import annotations

import torch

from ._functional import binary_cross_entropy_with_logits, cross_entropy

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss"]


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """``cross_entropy`` as a module, in place of `torch.nn.CrossEntropyLoss`, a subclass.

    Arguments, state and representation are those of the class it stands for.

    Examples
    --------
    >>> import torch
    >>> from logitloss.torch import nn
    >>> criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    >>> print(f"{criterion(torch.zeros(4, 10), torch.tensor([1, 2, 3, 4])).item():.4f}")  # log 10
    2.3026
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of logits of shape (C), (N, C) or (N, C, d1, ...)."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):
    """``binary_cross_entropy_with_logits`` as a module, in place of `torch.nn.BCEWithLogitsLoss`, a subclass.

    Arguments, state and representation are those of the class it stands for.

    Examples
    --------
    >>> import torch
    >>> from logitloss.torch import nn
    >>> criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))
    >>> print(f"{criterion(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]])).item():.4f}")  # 2 log 2
    1.3863
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of logits of any shape."""
        return binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
