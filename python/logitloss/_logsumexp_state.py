"""Log-sum-exp of data that comes in pieces."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from . import _arrays, _core
from ._types import ArrayOrScalar, Axes


class LogSumExp:
    """Log-sum-exp of data that comes in pieces: blocks of a file, shards of a vocabulary, results of processes.

    A state holds four numbers a row and no data. However the data was cut and in whatever order the states were
    merged, a value of at least 2 in magnitude is within 1 ulp of `logsumexp` on all data together, and one nearer to 0
    within 3 eps of its dtype: there the logarithm shows every rounding of the sum, in one call as in many. The bits are
    those of `logsumexp` where there was one piece.

    Parameters
    ----------
    axis : int, tuple of int or None
        Axes of each piece to sum over; None is all of them.

    Raises
    ------
    TypeError
        If `axis` is none of these.

    Notes
    -----
    A state is the sum of exponentials and the power of two that it is to be multiplied by. Merging multiplies by
    powers of two, which is exact, and adds; what the addition rounds away is kept beside the sum. States can be
    pickled and copied. Pieces of float32 and float64 give a float64 value.

    Several threads may use one state at once, and merge two of them into each other: every piece counts, and whoever
    reads a value, a copy or a pickle gets that of one moment.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> logits = np.log(np.arange(1.0, 7.0))
    >>> first = ll.LogSumExp().update(logits[:2])
    >>> second = ll.LogSumExp().update(logits[2:5]).update(logits[5:])
    >>> print(first.merge(second).value())  # log 21
    3.044522437723423
    """

    def __init__(self, axis: Axes = -1) -> None:
        if isinstance(axis, (tuple, list)):
            axis = tuple(_arrays.as_integer(one, "axis") for one in axis)
        elif axis is not None:
            axis = _arrays.as_integer(axis, "axis")
        self._axis = axis
        self._rows = _core.LogSumExpRows()

    def __getstate__(self) -> dict[str, Any]:
        """All attributes, with the rows as an array: those of one moment, whatever other threads add."""
        states, dtype = self._rows.stored()
        return {name: value for name, value in vars(self).items() if name != "_rows"} | {
            "_states": states,
            "_dtype": dtype,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        attributes = dict(state)
        states, dtype = attributes.pop("_states"), attributes.pop("_dtype")
        self._rows = _core.LogSumExpRows()
        if states is not None:
            self._rows.restore(states, dtype)
        vars(self).update(attributes)

    def update(self, chunk: ArrayLike, *, num_threads: int | None = None) -> LogSumExp:
        """Add the classes of a piece and return the state itself.

        Parameters
        ----------
        chunk : array_like
            A piece, as `logsumexp` takes it. Its shape without the class axes must be that of the pieces before; its
            length along the class axes may be any, 0 included.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        LogSumExp
            This state.

        Raises
        ------
        TypeError
            For masked, complex, longdouble, object and text arrays.
        ValueError
            If the shape does not fit, or an axis is named twice.
        numpy.exceptions.AxisError
            If the axis is out of range. Whatever is raised, the state is as before.
        """
        self._rows.update(chunk, self._axis, num_threads)
        return self

    def merge(self, other: LogSumExp) -> LogSumExp:
        """Add what another state has seen and return the state itself; the other one stays as it is.

        Parameters
        ----------
        other : LogSumExp
            A state whose rows have the same shape, or one that has seen nothing. Its `axis` may be another: that says
            how pieces are read, and a state holds rows only.

        Returns
        -------
        LogSumExp
            This state.

        Raises
        ------
        TypeError
            If `other` is no LogSumExp.
        ValueError
            If its rows have another shape.
        """
        if not isinstance(other, LogSumExp):
            raise TypeError(f"other: got {type(other).__name__}, expected a LogSumExp")
        self._rows.merge(other._rows)
        return self

    def value(self) -> ArrayOrScalar:
        """The log-sum-exp of all pieces so far.

        Returns
        -------
        ndarray or NumPy scalar
            What `logsumexp` gives for all pieces at once: a value a row, float64 if there was a float64 piece,
            otherwise float32. ``-inf`` if there was no piece.
        """
        return self._rows.value()
