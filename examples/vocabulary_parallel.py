"""Softmax regression on handwritten digits, with the classes shared out among MPI ranks: the same curve as on one.

Every rank has all images, and of the weights only the columns of its own classes. It computes the logits of these, one
collective gives it the loss over all classes and the gradient of its own, and the step is its own again. Nothing else
is sent while it learns, whatever the number of classes.

    python examples/vocabulary_parallel.py                  one rank
    mpiexec -n 4 python examples/vocabulary_parallel.py     four

The exit code is 0 if at least 93 % of the test images are recognised, which is what one linear layer does.
"""

from __future__ import annotations

import sys

import numpy as np
from mpi4py import MPI
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from logitloss.mpi import cross_entropy_value_and_grad

CLASSES = 10
STEPS = 300
RATE = 0.5
REQUIRED_ACCURACY = 0.93


def load_data() -> list[np.ndarray]:
    """Images to train and to test with, scaled to [0, 1] and with a 1 for the intercept, and their labels."""
    digits = load_digits()
    images = np.column_stack([digits.data / 16.0, np.ones(len(digits.data))])
    return train_test_split(images, digits.target, test_size=0.2, stratify=digits.target, random_state=0)


def main() -> int:
    """Learn, and print what rank 0 sees."""
    comm = MPI.COMM_WORLD
    images, test_images, labels, test_labels = load_data()
    first, end = (CLASSES * rank // comm.size for rank in (comm.rank, comm.rank + 1))
    weights = np.zeros((images.shape[1], end - first))
    for step in range(STEPS + 1):
        logits = images @ weights
        loss, gradient = cross_entropy_value_and_grad(
            logits, labels, comm, first_class=first, num_classes=CLASSES, grad_out=logits
        )
        if comm.rank == 0 and step % 30 == 0:
            print(f"step {step:3}  loss {loss:.9f}")
        weights -= RATE * (images.T @ gradient)
    # To compare classes of all ranks, somebody must have their logits side by side.
    scores = np.concatenate(comm.allgather(test_images @ weights), axis=1)
    accuracy = np.mean(np.argmax(scores, axis=1) == test_labels)
    if comm.rank == 0:
        print(f"test accuracy {accuracy:.3f}")
    return int(accuracy < REQUIRED_ACCURACY)


if __name__ == "__main__":
    sys.exit(main())
