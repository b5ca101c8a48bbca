r"""How well one augmented point tells the label of the sample it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.theory.graphs.inputs import label_codes
from foretell.theory.graphs.weights import check_values, matrix_of, sample_probabilities


@dataclass(frozen=True, eq=False)
class LabelError:
    r"""Bayes labels of augmented points.

    Attributes
    ----------
    alpha
        :math:`\alpha`: probability that the Bayes label of an augmented point is not the label of
        its sample.
    labels
        Most probable label of each augmented point, shape (n,); the first of equally probable
        ones.
    classes
        The different labels, in order of first appearance.
    """

    alpha: float
    labels: Array
    classes: tuple[Any, ...]

    def __float__(self) -> float:
        return self.alpha


def label_error(probabilities: Any, labels: Any, weights: Any = None) -> LabelError:
    r"""Least error of predicting a sample's label from one augmentation of it.

    .. math:: \alpha = 1 - \sum_x \max_c \sum_{\bar x: y(\bar x) = c} P(\bar x) A(x \mid \bar x)

    With these Bayes labels the disagreement of the graph obeys :math:`\phi \le 2 \alpha`.

    Parameters
    ----------
    probabilities
        :math:`A(x \mid \bar x)`, shape (m, n), dense or sparse: one row a sample. Rows are scaled
        to sum to one, so that counts of draws will do.
    labels
        Label of each sample, any hashable values, shape (m,), two or more classes.
    weights
        Probabilities of the samples, any scale, shape (m,); None: equal.

    Raises
    ------
    InputError
        If probabilities are negative or not finite, a row is zero, an augmented point has no
        probability, or labels have the wrong length, are missing or have one class.

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). NeurIPS. arXiv:2106.04156. Assumption 3.5, of which
       this is the smallest alpha. The inequality is derived in docs/theory/positive-pair-graphs.md.

    Examples
    --------
    >>> found = label_error([[0.75, 0.25, 0], [0, 0.5, 0.5]], ["cat", "dog"])
    >>> found.labels.tolist(), found.alpha
    (['cat', 'dog', 'dog'], 0.125)
    """
    A = matrix_of(probabilities, "probabilities")
    check_values(A, "probabilities")
    found = label_codes(labels, A.shape[0], what="sample")
    sums = np.asarray(A.sum(axis=1)).ravel()
    if not sums.all():
        raise InputError(f"sample {int(np.argmin(sums))} has no augmentation: its row is zero")
    P = sample_probabilities(weights, A.shape[0]) / sums
    mass = np.asarray(A.T @ (found.indicators * P[:, None]))
    if not (reached := mass.sum(axis=1)).all():
        raise InputError(
            f"{(reached == 0).sum()} augmented points have no probability, the first "
            f"{int(np.argmin(reached))}; leave them out, as the graph does"
        )
    best = np.argmax(mass, axis=1)
    others = reached - mass[np.arange(len(best)), best]
    names = np.empty(len(found.classes), dtype=object)
    names[:] = found.classes
    return LabelError(float(np.maximum(others, 0.0).sum()), names[best], found.classes)
