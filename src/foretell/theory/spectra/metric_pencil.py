"""Eigenvalues of a covariance in the metric of penalty and diagonal, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.theory.spectra.spectrum import Spectrum

POLE = 1e-8  # coordinates closer to a pole, relative to the penalty, are moved to this distance
RANK = 1e-13  # eigenvalues of a block below this share of its largest one are zero
CHUNK = 2**22  # numbers in a batch of matrices


@dataclass(frozen=True, eq=False)
class Block:
    """Coordinates that no other coordinate is correlated with.

    Attributes
    ----------
    root
        Factor L of the covariance LL', shape (b, r).
    scale
        Diagonal of the resolvent in these coordinates, shape (b,).
    copies
        How many blocks are the same, a float.
    """

    root: Array
    scale: Array
    copies: float

    def eigenvalues(self, metric: Array) -> Array:
        """Eigenvalues of L' H^-1 L for diagonals of H (m, b), shape (m, r)."""
        if self.root.size == 1:
            return self.root[0] ** 2 / metric
        parts = _chunks(metric, self.root.shape[1])
        return np.concatenate([np.linalg.eigvalsh(self._pencil(h)) for h in parts])

    def eigenpairs(self, metric: Array) -> tuple[Array, Array]:
        """Eigenvalues and their derivatives in x, shape (m, r), where H = penalty - x / scale."""
        if self.root.size == 1:
            t = self.root[0] ** 2 / metric
            return t, t / (metric * self.scale)
        values, slopes = [], []
        for h in _chunks(metric, self.root.shape[1]):
            t, vectors = np.linalg.eigh(self._pencil(h))
            images = (self.root @ vectors) / h[:, :, None]
            values.append(t)
            slopes.append(np.einsum("mbr,b->mr", images**2, 1 / self.scale))
        return np.concatenate(values), np.concatenate(slopes)

    def _pencil(self, metric: Array) -> Array:
        return self.root.T @ (self.root / metric[:, :, None])


def _chunks(metric: Array, size: int) -> list[Array]:
    rows = max(1, CHUNK // max(1, size**2))
    return [metric[i : i + rows] for i in range(0, len(metric), rows)]


@dataclass(frozen=True, eq=False)
class Pencil:
    r"""Eigenvalues of :math:`L^\top (\lambda - x \Delta^{-1})^{-1} L` at real x.

    Here :math:`\Sigma = LL^\top`, and :math:`\Delta` is the diagonal of the resolvent. Blocks of
    the covariance are treated apart, equal blocks once; b coordinates that are connected cost one
    symmetric eigendecomposition of size b for every x.

    Attributes
    ----------
    singles
        Variances, scales and counts of coordinates without correlation, shape (3, g).
    blocks
        The others.
    alpha
        Penalty :math:`\lambda`.
    """

    singles: Array
    blocks: tuple[Block, ...]
    alpha: float

    @property
    def counts(self) -> Array:
        """How often each eigenvalue occurs, shape (p,)."""
        tau, _, counts = self.singles
        parts = [np.full(block.root.shape[1], block.copies) for block in self.blocks]
        return np.concatenate([counts[tau > 0], *parts])

    @cached_property
    def scales(self) -> tuple[Array, Array, Array]:
        """Values of the diagonal, coordinates that have them, and their rank, shape (k,) each."""
        tau, scale, counts = self.singles
        rows = [(scale, counts, np.where(tau > 0, counts, 0.0))]
        for block in self.blocks:
            own, where, copies = np.unique(block.scale, return_inverse=True, return_counts=True)
            known = np.array([_rank(block.root[where == i]) for i in range(len(own))])
            rows.append((own, copies * block.copies, known * block.copies))
        scale, counts, ranks = (np.concatenate(part) for part in zip(*rows, strict=True))
        values, where = np.unique(scale, return_inverse=True)
        return values, np.bincount(where, counts), np.bincount(where, ranks)

    def eigenvalues(self, x: Array) -> Array:
        """Eigenvalues at points x (m,), shape (m, p)."""
        tau, scale, _ = self.singles
        live = tau > 0
        first = tau[live] / self._metric(x, scale[live])
        parts = [block.eigenvalues(self._metric(x, block.scale)) for block in self.blocks]
        return np.concatenate([first, *parts], axis=1)

    def eigenpairs(self, x: Array) -> tuple[Array, Array]:
        """Eigenvalues and their derivatives in x at points (m,), shape (m, p) each."""
        tau, scale, _ = self.singles
        live = tau > 0
        metric = self._metric(x, scale[live])
        first = tau[live] / metric
        parts = [block.eigenpairs(self._metric(x, block.scale)) for block in self.blocks]
        t = np.concatenate([first, *(p[0] for p in parts)], axis=1)
        slope = np.concatenate([first / (metric * scale[live]), *(p[1] for p in parts)], axis=1)
        return t, slope

    def negative(self, x: Array) -> Array:
        """Number of coordinates in which the metric is negative at points x, shape (m,)."""
        scales, counts, _ = self.scales
        return np.asarray((self._metric(x, scales) < 0) @ counts)

    def _metric(self, x: Array, scale: Array) -> Array:
        metric = self.alpha - np.asarray(x)[:, None] / scale
        near = np.abs(metric) < POLE * self.alpha
        # Next to a pole counts as beyond it, so that a distribution includes the atom at a pole.
        return np.where(near, -POLE * self.alpha, metric)


def pencil_of_matrix(matrix: Array, scale: Array, alpha: float) -> Pencil:
    """Pencil of a covariance (d, d) and the diagonal of its resolvent (d,)."""
    groups: dict[bytes, list[Any]] = {}
    singles = []
    for index in _components(matrix):
        part, own = matrix[np.ix_(index, index)], scale[index]
        if len(index) == 1:
            singles.append((part[0, 0], own[0]))
            continue
        key = part.tobytes()
        groups.setdefault(key, [part, own, 0.0])[2] += 1.0
    blocks = tuple(Block(_root(part), own, copies) for part, own, copies in groups.values())
    if not singles:
        return Pencil(np.zeros((3, 0)), blocks, alpha)
    kinds, counts = np.unique(np.array(singles), axis=0, return_counts=True)
    return Pencil(np.vstack([kinds.T, counts]), blocks, alpha)


def pencil_of_diagonal(spectrum: Spectrum, scale: Array, alpha: float) -> Pencil:
    """Pencil of a diagonal covariance from its types and the diagonal of the resolvent (g,)."""
    tau = spectrum.profile @ spectrum.eigenvalues
    return Pencil(np.stack([tau, scale, spectrum.copies]), (), alpha)


def _components(matrix: Array) -> list[Array]:
    """Indices of the coordinates of each block."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    count, labels = connected_components(csr_array(matrix != 0), directed=False)
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=count))[:-1])


def _root(block: Array) -> Array:
    values, vectors = np.linalg.eigh(block)
    live = values > RANK * values[-1]
    return vectors[:, live] * np.sqrt(values[live])


def _rank(rows: Array) -> int:
    if len(rows) == 1:
        return int(rows.any())
    return int(np.linalg.matrix_rank(rows))
