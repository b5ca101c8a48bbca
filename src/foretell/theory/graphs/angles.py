r"""Learned features against the leading eigenspace of the graph: principal angles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import IdentificationError
from foretell.theory.graphs.eigenpairs import Eigenpairs
from foretell.theory.graphs.inputs import check_dimension, feature_rows, leading, unit_columns
from foretell.theory.graphs.weights import NormalizedGraph

DEPENDENT = 1e-10


@dataclass(frozen=True, eq=False)
class PrincipalAngles:
    r"""Angles between the span of features and the k leading eigenvectors.

    Attributes
    ----------
    angles
        Principal angles in radians, ascending, shape (min(r, k),); zeros are accurate to 1e-15
        or to the accuracy of the eigenvectors.
    captured_each
        Squared length of the projection of each eigenvector on the span, shape (k,): 1 if it is
        inside, 0 if it is orthogonal. Where eigenvalues are equal only the sum over them is
        determined.
    eigengap
        :math:`\lambda_k - \lambda_{k+1}`; at zero the leading eigenspace is not unique.
    """

    angles: Array
    captured_each: Array
    eigengap: float

    @property
    def cosines(self) -> Array:
        """Cosines of the angles, descending, shape (min(r, k),)."""
        return np.asarray(np.cos(self.angles))

    @property
    def captured(self) -> float:
        """Share of the eigenspace inside the span, between 0 and 1 (all of it)."""
        return float(self.captured_each.mean())

    def __str__(self) -> str:
        return (
            f"{100 * self.captured:.4g} % of the {len(self.captured_each)} leading eigenvectors "
            f"captured; largest angle {np.degrees(self.angles[-1]):.4g} degrees, cosines from "
            f"{self.cosines[0]:.6g} to {self.cosines[-1]:.6g}"
        )


def principal_angles(
    graph: NormalizedGraph,
    features: Any,
    k: int | None = None,
    *,
    pairs: Eigenpairs | None = None,
) -> PrincipalAngles:
    r"""Principal angles between span(:math:`D^{1/2} f`) and the k leading eigenvectors.

    They do not change when features are mixed by an invertible matrix. Zero angles for r = k mean
    that linear heads on f are linear heads on the minimiser of the spectral contrastive loss.

    Parameters
    ----------
    graph
        Weights of positive pairs on n vertices.
    features
        f, shape (n, r), linearly independent columns.
    k
        Number of eigenvectors, 1 to n - 1; None: r.
    pairs
        k + 1 or more leading eigenpairs; None computes k + 1.

    Raises
    ------
    InputError
        If shapes do not match, features are not finite, or k is out of range.
    IdentificationError
        If columns of the features depend linearly on each other (to 1e-10).

    References
    ----------
    .. [1] Bjorck & Golub (1973). Numerical methods for computing angles between linear subspaces.
       Mathematics of Computation 27.
    .. [2] Knyazev & Argentati (2002). Principal angles between subspaces in an A-based scalar
       product. SIAM Journal on Scientific Computing 23: small angles from sines.

    Examples
    --------
    >>> from foretell.theory.graphs.weights import normalized_weights
    >>> graph, _ = normalized_weights(np.kron(np.eye(2), np.ones((2, 2))) + 0.02)
    >>> found = principal_angles(graph, [[1, 0], [1, 0], [0, 1], [0, 3]])
    >>> np.round(found.cosines, 6).tolist(), round(found.captured, 6)
    ([1.0, 0.894427], 0.9)
    """
    F = feature_rows(graph, features)
    k = F.shape[1] if k is None else k
    check_dimension(graph, k)
    basis = _independent(F)
    pairs = leading(graph, k + 1, pairs)
    V = pairs.vectors[:, :k]
    return PrincipalAngles(
        subspace_angles(basis, V),
        ((basis.T @ V) ** 2).sum(axis=0),
        float(pairs.values[k - 1] - pairs.values[k]),
    )


def subspace_angles(A: Array, B: Array) -> Array:
    """Principal angles between spans of orthonormal columns, ascending, shape (min(r, k),).

    Each from its sine and its cosine: ``scipy.linalg.subspace_angles`` (1.17) loses half the
    digits of small angles if others exceed 45 degrees.
    """
    if A.shape[1] < B.shape[1]:
        A, B = B, A
    inner = A.T @ B
    cosines = np.linalg.svd(inner, compute_uv=False)
    sines = np.linalg.svd(B - A @ inner, compute_uv=False)[::-1]
    return np.asarray(np.arctan2(sines, cosines))


def _independent(F: Array) -> Array:
    """Orthonormal basis of independent columns, shape (n, r)."""
    U, values, _ = np.linalg.svd(unit_columns(F), full_matrices=False)
    rank = int((values > DEPENDENT * values[0]).sum()) if values[0] > 0 else 0
    if rank < F.shape[1]:
        raise IdentificationError(
            f"the {F.shape[1]} features span {rank} dimensions over the {len(F)} vertices, so that "
            "angles to as many eigenvectors are not defined; remove dependent or constant-zero "
            "columns (a collapsed encoder: train with a larger norm or fewer dimensions)"
        )
    return U
