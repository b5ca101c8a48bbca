r"""M-estimation for anyone's own loss of one sample: minimum, scores, curvature, meat.

The author writes ``loss(params, x)``, the loss of *one* sample x of shape (d,) in JAX, with
params any pytree, and ``act(params, g)``, how a group moves them. Here parameters are flat
vectors theta, shape (p,); data enter as sums over chunks, second derivatives as products. All
is computed in double precision; the caller's JAX settings stay as they are.

References
----------
.. [1] van der Vaart (1998). Asymptotic Statistics. Theorem 5.23.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial, reduce, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, cg, eigsh

from foretell._types import Array
from foretell.data.sources import Source
from foretell.errors import ConvergenceError, IdentificationError, InputError
from foretell.symmetry import Group, Trivial

Loss = Callable[[Any, Any], Any]
Act = Callable[[Any, Any], Any]
Args = ParamSpec("Args")
Result = TypeVar("Result")

LARGEST_DENSE = 1500
LARGEST_DENSE_STEP = 128
BLOCK_CELLS = 1 << 23
TANGENTS = 16
FLAT = 1e-8
SMALLEST_UNIT = 1e-12
MOST_FLAT = 10
MOST_NEWTON_STEPS = 50
MOST_PRODUCTS = 10_000
LANCZOS_SIZE = 60


def _double(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Run in double precision; the setting is local to the call and to the thread."""

    @wraps(function)
    def inside(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        # jax.experimental.enable_x64 until JAX 0.8, jax.enable_x64 since.
        scope = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
        with scope(True):
            return function(*args, **kwargs)

    return inside


class _Layout(NamedTuple):
    """Structure of a pytree of parameters and the shapes of its leaves."""

    tree: Any
    shapes: tuple[tuple[int, ...], ...]

    def unravel(self, theta: Any) -> Any:
        """The pytree of a flat vector, NumPy or JAX like the vector."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes]).tolist()
        pieces = zip([0, *ends], ends, self.shapes, strict=False)
        return jax.tree.unflatten(self.tree, [theta[a:b].reshape(shape) for a, b, shape in pieces])


def _layout(params: Any) -> _Layout:
    leaves, tree = jax.tree.flatten(params)
    return _Layout(tree, tuple(np.shape(leaf) for leaf in leaves))


def _flat(params: Any) -> Array:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    if not leaves or not all(leaf.dtype.kind in "fiu" for leaf in leaves):
        raise InputError(f"parameters are a pytree of arrays of real numbers; found {params!r}")
    return np.concatenate([leaf.ravel().astype(np.float64) for leaf in leaves])


class _Kernels(NamedTuple):
    """Compiled: sums over one block of samples (value, products, meat), and values by row."""

    losses: Any
    scores: Any
    score_products: Any
    value: Any
    products: Any
    meat: Any


@lru_cache(maxsize=16)
def _kernels(loss: Loss, layout: _Layout) -> _Kernels:
    def one(theta: Any, x: Any) -> Any:
        return loss(layout.unravel(theta), x)

    losses = jax.vmap(one, (None, 0))
    scores = jax.vmap(jax.grad(one), (None, 0))

    def total(theta: Any, X: Any, w: Any) -> Any:
        return w @ losses(theta, X)

    def along(function: Any, theta: Any, V: Any) -> Any:
        return jax.vmap(lambda v: jax.jvp(function, (theta,), (v,))[1])(V)

    def score_products(theta: Any, V: Any, X: Any) -> Any:
        return along(lambda t: losses(t, X), theta, V).T

    def products(theta: Any, V: Any, X: Any, w: Any) -> Any:
        return along(lambda t: jax.grad(total)(t, X, w), theta, V)

    def meat(theta: Any, X: Any, w: Any) -> Any:
        weighted = w[:, None] * scores(theta, X)
        return weighted.T @ weighted

    value = jax.value_and_grad(total)
    return _Kernels(*map(jax.jit, (losses, scores, score_products, value, products, meat)))


@dataclass(frozen=True, eq=False)
class Objective:
    r"""Mean loss of a sample, :math:`L(\theta) = \sum_i w_i \ell(\theta; x_i) / \sum_i w_i`.

    Parameters
    ----------
    loss
        Loss of one sample: ``loss(params, x)`` with x of shape (d,), a scalar, in JAX.
    source
        The sample.
    params
        Any parameters, for their structure and shapes.

    Raises
    ------
    InputError
        If parameters are not real, the sample is empty, or the loss is not one double.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rows = ArraySource(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> mean = Objective(lambda params, x: 0.5 * ((x - params) ** 2).sum(), rows, np.zeros(2))
    >>> mean.gradient(np.zeros(2)).tolist()
    [-2.0, -4.0]
    """

    loss: Loss
    source: Source
    params: Any

    @_double
    def __post_init__(self) -> None:
        if not self.source.rows:
            raise InputError("the sample is empty: expected at least one row")
        row = jax.ShapeDtypeStruct((self.source.columns,), jnp.float64)
        out = jax.eval_shape(self.loss, self.unravel(_flat(self.params)), row)
        if getattr(out, "shape", None) != () or out.dtype != jnp.float64:
            raise InputError(
                f"the loss of one sample is one number in double precision; found {out}; sum over "
                "columns, and cast nothing to lower precision inside the loss"
            )

    @cached_property
    def layout(self) -> _Layout:
        """Structure of the parameters."""
        return _layout(self.params)

    @property
    def size(self) -> int:
        """Number p of parameters."""
        return sum(int(np.prod(shape)) for shape in self.layout.shapes)

    def ravel(self, params: Any) -> Array:
        """Flat vector of parameters, shape (p,)."""
        if (found := _layout(params)) != self.layout:
            raise InputError(f"expected parameters like {self.layout}; found {found}")
        return _flat(params)

    def unravel(self, theta: Array) -> Any:
        """Parameters of a flat vector, with NumPy arrays of doubles as leaves."""
        return self.layout.unravel(np.asarray(theta, dtype=np.float64))

    def value(self, theta: Array) -> float:
        """L(theta)."""
        return self.value_and_gradient(theta)[0]

    def gradient(self, theta: Array) -> Array:
        """Derivative of L, shape (p,)."""
        return self.value_and_gradient(theta)[1]

    def value_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """Both in one pass over the data."""
        value, gradient = self._mean(partial(self._compiled.value, theta))
        return float(value), gradient

    def hessian_product(self, theta: Array, v: Array) -> Array:
        """Second derivative of L times v, or times each row of v, shape (..., p)."""
        out = self._mean(partial(self._compiled.products, theta, np.atleast_2d(v)))
        return np.asarray(out).reshape(np.shape(v))

    def hessian(self, theta: Array) -> Array:
        """Second derivative of L, shape (p, p), in one pass over the data."""
        step = min(TANGENTS, self.size)
        basis = np.eye(-(-self.size // step) * step, self.size).reshape(-1, step, self.size)

        def rows(X: Any, w: Any) -> Array:
            return np.concatenate([self._compiled.products(theta, V, X, w) for V in basis])

        out = self._mean(rows)[: self.size]
        return np.asarray(out + out.T) / 2

    def curvature(self, theta: Array, largest_dense: int = LARGEST_DENSE) -> Any:
        """Second derivative of L: an array up to this p, beyond it a ``LinearOperator``."""
        if self.size <= largest_dense:
            return self.hessian(theta)
        shape = (self.size, self.size)
        return LinearOperator(shape, lambda v: self.hessian_product(theta, v.ravel()), dtype=float)

    def losses(self, theta: Array, X: Array) -> Array:
        """Loss of each row, shape (n,)."""
        return self._by_row(partial(self._compiled.losses, theta), X)

    def scores(self, theta: Array, X: Array) -> Array:
        """Derivative of the loss of each row, shape (n, p)."""
        return self._by_row(partial(self._compiled.scores, theta), X)

    def score_products(self, theta: Array, X: Array, V: Array) -> Array:
        """Scores times the columns of V, shapes (p, k) to (n, k), without the scores."""
        return self._by_row(partial(self._compiled.score_products, theta, V.T), X)

    def meat(self, theta: Array) -> Array:
        """Covariance S of the scores at a minimum, shape (p, p).

        A row counts with the square of its weight over the mean weight: S/m is the covariance
        of the gradient of m weighted rows.
        """
        out = self._mean(partial(self._compiled.meat, theta))
        return np.asarray(out) * (self.source.rows / self.total_weight)

    @cached_property
    def total_weight(self) -> float:
        """Sum of the weights of all rows."""
        chunks = self.source.chunks()
        return sum(float(len(X) if weights is None else weights.sum()) for X, weights in chunks)

    @cached_property
    def first_rows(self) -> Array:
        """A few rows on which scales and symmetries are checked, shape (at most 256, d)."""
        first = next(X for X, _ in self.source.chunks() if len(X))
        return np.array(first[:256], dtype=np.float64)

    @property
    def _compiled(self) -> _Kernels:
        return _kernels(self.loss, self.layout)

    @_double
    def _mean(self, kernel: Callable[[Any, Any], Any]) -> Any:
        add = partial(jax.tree.map, np.add)
        total = reduce(add, (kernel(X, w) for X, w in self._blocks()))
        return jax.tree.map(lambda s: np.asarray(s) / self.total_weight, total)

    @_double
    def _by_row(self, kernel: Callable[[Any], Any], X: Array) -> Array:
        parts = np.split(X, range(self._block_rows, len(X), self._block_rows))
        return np.concatenate([np.asarray(kernel(self._padded(b)))[: len(b)] for b in parts])

    def _blocks(self) -> Iterator[tuple[Array, Array]]:
        for X, weights in self.source.chunks():
            for start in range(0, len(X), self._block_rows):
                rows = slice(start, start + self._block_rows)
                block = self._padded(X[rows])
                w = np.zeros(len(block))
                w[: len(X[rows])] = 1.0 if weights is None else weights[rows]
                yield block, w

    @property
    def _block_rows(self) -> int:
        """So that scores, or the tangents of 16 Hessian products, take 64 MB."""
        cells = max(self.size, TANGENTS * self.source.columns)
        return 1 << max(0, (BLOCK_CELLS // cells).bit_length() - 1)

    def _padded(self, X: Array) -> Array:
        """Repeat the last row up to a power of two: few shapes to compile, no invented data."""
        size = min(self._block_rows, max(8, 1 << (len(X) - 1).bit_length()))
        return np.concatenate([X, np.repeat(X[-1:], size - len(X), axis=0)]).astype(np.float64)


@_double
def vertical_basis(group: Group, act: Act, params: Any) -> Array:
    """Orthonormal basis of the tangent space of the orbit, shape (k, p).

    Derivatives of ``act(params, g)`` at the identity along the generators of the group; k is
    its dimension (zero for a finite group), or less where it does not act freely.

    Parameters
    ----------
    group
        The symmetry.
    act
        Moves parameters by an element g of shape (r, r), in JAX; a pytree like params.
    params
        The point.

    Raises
    ------
    InputError
        If the identity moves the point, or the moved point has another structure.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.symmetry import Orthogonal
    >>> W = np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> basis = vertical_basis(Orthogonal(2), lambda W, g: W @ g, W)
    >>> bool(np.allclose(np.abs(basis), np.array([[0, 2, 1, 0]]) / 5**0.5))
    True
    """
    theta, layout = _flat(params), _layout(params)

    def moved(element: Any) -> Any:
        new = act(layout.unravel(jnp.asarray(theta)), element)
        if (found := _layout(new)) != layout:
            raise InputError(f"act returns parameters like {found}; expected {layout}")
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(new)])

    identity = jnp.eye(group.rank)
    shift = float(np.abs(np.asarray(moved(identity)) - theta).max())
    if not shift <= 1e-12 * max(1.0, float(np.abs(theta).max())):
        raise InputError(f"act with the identity moves the parameters by {shift:.1e}; expected 0")
    if not group.dimension:
        return np.zeros((0, len(theta)))
    moves = jax.vmap(lambda k: jax.jvp(moved, (identity,), (k,))[1])(group.generators())
    _, size, basis = np.linalg.svd(np.asarray(moves), full_matrices=False)
    return np.asarray(basis[size > size.max() * 1e-10])


@_double
def check_invariance(
    objective: Objective, params: Any, group: Group, act: Act, rng: np.random.Generator
) -> None:
    """Raise unless the loss of every sample is the same at random points of the orbit.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> from foretell.symmetry import Permutations
    >>> sums = Objective(lambda w, x: (w @ x) ** 2, ArraySource(np.ones((3, 2))), np.zeros(2))
    >>> act, rng = (lambda w, g: w @ g), np.random.default_rng(0)
    >>> check_invariance(sums, np.array([1.0, 2.0]), Permutations(2), act, rng)
    """
    X = objective.first_rows
    before = objective.losses(objective.ravel(params), X)
    scale = max(1.0, float(np.abs(before).max()))
    for _ in range(4):
        moved = act(objective.unravel(objective.ravel(params)), jnp.asarray(group.random(rng)))
        change = float(np.abs(objective.losses(objective.ravel(moved), X) - before).max())
        if not change <= FLAT * scale:
            raise IdentificationError(
                f"a random element of {group!r} changes the loss of a sample by {change:.1e} "
                f"(losses are up to {scale:.2g}), expected 0; correct `act`, or declare the "
                "symmetry that the loss has"
            )


def check_horizontal(vectors: Array, vertical: Array) -> None:
    """Raise unless the rows of vectors, shape (n, p), are orthogonal to the orbit.

    Scores are, if the symmetry is one of the loss; so are derivatives of whatever is constant
    on orbits.

    Examples
    --------
    >>> import numpy as np
    >>> check_horizontal(np.array([[0.0, 3.0]]), np.array([[1.0, 0.0]]))
    """
    along, size = np.linalg.norm(vectors @ vertical.T), np.linalg.norm(vectors)
    if not along <= 1e-7 * size:
        raise IdentificationError(
            f"scores (or the derivatives asked for) have a part of relative size "
            f"{along / size:.1e} along the declared symmetry, where nothing is identified; "
            "expected 0; correct `act`, or use a functional that is constant on orbits"
        )


class _Signature(NamedTuple):
    """Flat horizontal directions, lowest curvature if negative or else 0, and the largest."""

    flat: int
    negative: float
    top: float


@dataclass(frozen=True, eq=False)
class Curvature:
    r"""Hessian at a strict minimum on the quotient, and its inverse there.

    On the orthogonal complement of the vertical space the Hessian must be positive; this is
    checked when the object is made. What is below 1e-8 of the largest eigenvalue is zero. An
    array is brought to unit diagonal first, so that units of parameters (up to a factor 1e6
    apart) do not matter.

    Parameters
    ----------
    hessian
        Shape (p, p): an array (eigendecomposition), or a scipy ``LinearOperator`` (Lanczos and
        conjugate gradients).
    vertical
        Orthonormal basis of the tangent space of the orbit, shape (k, p).

    Raises
    ------
    ConvergenceError
        At a saddle, with its curvature; or if Lanczos does not converge.
    IdentificationError
        If the Hessian is flat in more directions than the orbit has, or not flat along it.

    Examples
    --------
    >>> import numpy as np
    >>> Curvature(np.diag([0.0, 2.0]), np.array([[1.0, 0.0]])).solve(np.array([0.0, 1.0])).tolist()
    [0.0, 0.5]
    """

    hessian: Any
    vertical: Array

    def __post_init__(self) -> None:
        dense = isinstance(self.hessian, np.ndarray)
        if dense and not np.isfinite(self.hessian).all():
            raise ConvergenceError("the curvature of the loss is not finite; start elsewhere")
        flat, negative, top = self._dense_signature() if dense else self._lanczos_signature()
        k = len(self.vertical)
        if negative:
            raise ConvergenceError(
                f"the pre-training loss stopped at a saddle (curvature {negative:.3g} beside "
                f"{top:.3g}); start elsewhere"
            )
        along = max((float(np.linalg.norm(self.hessian @ v)) for v in self.vertical), default=0.0)
        if along > 1e-6 * top:
            raise IdentificationError(
                f"the curvature along the declared symmetry is {along:.1e} beside {top:.3g}, "
                "expected 0: the point is not a minimum, or the loss lacks this symmetry"
            )
        if flat:
            least = "at least " if flat == MOST_FLAT and not dense else ""
            raise IdentificationError(
                f"the pre-training loss is flat in {least}{k + flat} directions but the declared "
                f"symmetry explains {k}; declare the missing symmetry or reduce the rank"
            )

    def solve(self, rhs: Array) -> Array:
        r""":math:`H^\dagger` rhs on the horizontal space, shape (p,) or (p, k) like rhs.

        Raises
        ------
        IdentificationError
            If the right-hand side is not horizontal.
        ConvergenceError
            If conjugate gradients (operators only) do not converge.
        """
        B = rhs.reshape(len(rhs), -1)
        check_horizontal(B.T, self.vertical)
        if isinstance(self.hessian, np.ndarray):
            values, basis = self._dense
            out = basis @ (basis.T @ B / values[:, None])
        else:
            out = np.stack([self._conjugate_gradients(b) for b in B.T], axis=1)
        return self._horizontal(out.T).T.reshape(rhs.shape)

    def _horizontal(self, vectors: Array) -> Array:
        return np.asarray(vectors - (vectors @ self.vertical.T) @ self.vertical)

    @cached_property
    def _dense(self) -> tuple[Array, Array]:
        """B, a basis of a complement of the vertical space, and BᵀHB, diagonal."""
        diagonal = np.abs(np.diag(self.hessian))
        top = diagonal.max() or 1.0
        unit = 1 / np.sqrt(np.where(diagonal > SMALLEST_UNIT * top, diagonal, top))
        frame = np.linalg.qr((self.vertical / unit).T, mode="complete")[0]
        complement = unit[:, None] * frame[:, len(self.vertical) :]
        values, turn = np.linalg.eigh(complement.T @ self.hessian @ complement)
        return values, complement @ turn

    def _dense_signature(self) -> _Signature:
        values, basis = self._dense
        size, top = np.abs(values).max(initial=0.0), float(np.abs(np.diag(self.hessian)).max())
        if not values.min(initial=0.0) < -FLAT * size:
            return _Signature(int((values <= FLAT * size).sum()), 0.0, top)
        projected = self._horizontal(self._horizontal(self.hessian).T)
        along = values[0] / (basis[:, 0] @ basis[:, 0])
        return _Signature(0, float(min(np.linalg.eigvalsh(projected)[0], along)), top)

    def _lanczos_signature(self) -> _Signature:
        """Smallest eigenvalues one at a time, each orthogonal to the flat ones before it."""
        p, found, top = self.vertical.shape[1], self.vertical, _largest(self.hessian)
        if top == 0.0:
            return _Signature(min(MOST_FLAT, p - len(found)), 0.0, 0.0)
        flat = 0
        while flat < MOST_FLAT and len(found) < p:
            lowest, vector = _lowest(self.hessian, top, found, FLAT / 10)
            if abs(lowest) > FLAT * top:
                return _Signature(flat, min(lowest, 0.0), top)
            flat, found = flat + 1, np.concatenate([found, vector[None]])
        return _Signature(flat, 0.0, top)

    def _conjugate_gradients(self, b: Array) -> Array:
        p, most = len(b), min(10 * len(b), MOST_PRODUCTS)
        operator = LinearOperator(
            (p, p), lambda v: self._horizontal(self.hessian @ self._horizontal(v.ravel())),
            dtype=float,
        )  # fmt: skip
        b = self._horizontal(b)
        x, _ = cg(operator, b, rtol=1e-11, maxiter=most)
        left = np.linalg.norm(operator @ x - b)
        if not left <= 1e-8 * np.linalg.norm(b):
            raise ConvergenceError(
                f"conjugate gradients left {left / np.linalg.norm(b):.1e} of the right-hand side "
                f"after {most} steps, expected 1e-8; scale the data, or reduce the rank"
            )
        return np.asarray(x)


def _lanczos(H: Any, which: str, tolerance: float) -> tuple[float, Array]:
    p, restarts = H.shape[0], MOST_PRODUCTS // LANCZOS_SIZE
    start = np.random.default_rng(0).normal(size=p)
    try:
        value, vector = eigsh(
            H, 1, which=which, v0=start, ncv=min(p, LANCZOS_SIZE), maxiter=restarts, tol=tolerance
        )
    except ArpackNoConvergence as error:
        raise ConvergenceError(
            f"Lanczos found no eigenvalue of the curvature to {tolerance:.0e} of the largest in "
            f"{restarts} restarts: many are nearly equal; reduce the rank, or scale the data"
        ) from error
    return float(value[0]), np.asarray(vector[:, 0])


def _largest(H: Any) -> float:
    """Largest size of an eigenvalue of an operator."""
    start = np.random.default_rng(0).normal(size=H.shape[0])
    return abs(_lanczos(H, "LM", 1e-3)[0]) if (H @ start).any() else 0.0


def _lowest(H: Any, top: float, found: Array, tolerance: float) -> tuple[float, Array]:
    """Smallest eigenvalue, and its vector, orthogonal to the rows of found; error relative to top.

    The largest of I - H/top instead: Lanczos then need not resolve numbers close to zero.
    """

    def shifted(v: Array) -> Array:
        v = v.ravel() - found.T @ (found @ v.ravel())
        v = v - H @ v / top
        return np.asarray(v - found.T @ (found @ v))

    value, vector = _lanczos(LinearOperator(H.shape, shifted, dtype=float), "LA", tolerance)
    return top * (1.0 - value), vector


@dataclass(frozen=True, eq=False)
class Minimum:
    """A strict minimum on the quotient; made by :func:`minimise`.

    Attributes
    ----------
    params, theta
        The minimiser, as a pytree and flat, shape (p,).
    value, gradient_norm
        Of the mean loss.
    iterations
        L-BFGS and Newton steps.
    curvature
        The Hessian there, checked; it keeps the sample when p is large (no dense Hessian).
    """

    params: Any
    theta: Array
    value: float
    gradient_norm: float
    iterations: int
    curvature: Curvature


@np.errstate(over="ignore", invalid="ignore")
def minimise(
    objective: Objective,
    start: Any,
    *,
    symmetry: Group | None = None,
    act: Act = lambda params, element: params,
    tolerance: float = 1e-10,
    max_iterations: int = 1000,
) -> Minimum:
    r"""Minimise the mean loss, and check that a strict minimum on the quotient was found.

    L-BFGS, then Newton steps by conjugate gradients until the gradient is below the tolerance
    times the root mean square of the scores there: whatever the units of the loss, and far below
    the statistical error.

    Parameters
    ----------
    objective
        Mean loss.
    start
        Parameters to start from.
    symmetry, act
        Group that leaves the loss of every sample unchanged, and how it moves parameters; None
        declares that there is none.
    tolerance
        Relative size of the final gradient.
    max_iterations
        Largest number of L-BFGS steps.

    Raises
    ------
    InputError
        If the loss is not finite at the start.
    ConvergenceError
        If the gradient does not vanish, or vanishes at a saddle.
    IdentificationError
        If the loss lacks the declared symmetry, or is flat in more directions than it explains.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rows = ArraySource(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> mean = Objective(lambda params, x: 0.5 * ((x - params) ** 2).sum(), rows, np.zeros(2))
    >>> minimise(mean, np.zeros(2)).params.round(6).tolist()
    [2.0, 4.0]

    References
    ----------
    .. [1] Nocedal & Wright (2006). Numerical Optimization. Algorithms 7.1 and 7.5.
    """
    theta = objective.ravel(start)
    if not np.isfinite(objective.value(theta)):
        raise InputError(f"the mean loss at the start is {objective.value(theta)}; start elsewhere")

    rough = 1e-6 * _score_size(objective, theta)
    options = {"maxiter": max_iterations, "maxcor": 20, "ftol": 1e-12, "gtol": rough}
    loss = objective.value_and_gradient
    found = optimize.minimize(loss, theta, jac=True, method="L-BFGS-B", options=options)
    if np.isfinite(objective.value(found.x)):
        theta = found.x
    theta, value, gradient, steps = _newton_steps(objective, theta, tolerance)
    size, iterations = float(np.linalg.norm(gradient)), int(found.nit) + steps
    goal = tolerance * _score_size(objective, theta)
    if not size <= goal < np.inf:
        low, high = _extremes(objective.curvature(theta))
        raise ConvergenceError(
            f"the pre-training loss was not minimised in {iterations} iterations: value "
            f"{value:.6g}, gradient {size:.1e}, expected {goal:.1e}; curvature from {low:.1e} to "
            f"{high:.1e}; " + ("the loss may be unbounded below: check it, or start elsewhere"
            if low < -FLAT * high else "it may be nearly flat: reduce the rank, scale the data, or "
            "raise the tolerance")
        )  # fmt: skip
    params = objective.unravel(theta)
    group = Trivial(0) if symmetry is None else symmetry
    check_invariance(objective, params, group, act, np.random.default_rng(0))
    curvature = Curvature(objective.curvature(theta), vertical_basis(group, act, params))
    return Minimum(params, theta, value, size, iterations, curvature)


def _score_size(objective: Objective, theta: Array) -> float:
    scores = objective.scores(theta, objective.first_rows)
    return float(np.sqrt((scores**2).sum(axis=1).mean()))


def _extremes(H: Any) -> tuple[float, float]:
    """Smallest and largest eigenvalue."""
    if isinstance(H, np.ndarray):
        values = np.linalg.eigvalsh(H)
        return float(values[0]), float(values[-1])
    top = _largest(H)
    return _lowest(H, top or 1.0, np.zeros((0, H.shape[0])), 1e-3)[0], top


def _newton_steps(
    objective: Objective, theta: Array, tolerance: float
) -> tuple[Array, float, Array, int]:
    value, gradient = objective.value_and_gradient(theta)
    for iteration in range(MOST_NEWTON_STEPS):
        size = np.linalg.norm(gradient)
        if size <= tolerance * _score_size(objective, theta):
            break
        H = objective.curvature(theta, LARGEST_DENSE_STEP)
        step, convex = _newton_step(H, gradient)
        for length in 0.5 ** np.arange(30):
            trial = theta + length * step
            new_value, new_gradient = objective.value_and_gradient(trial)
            lower = new_value < value + 1e-4 * length * (step @ gradient)
            # Near the minimum the value is constant up to rounding; the gradient still shrinks.
            calmer = np.isfinite(new_value) and np.linalg.norm(new_gradient) < 0.5 * size
            if lower or (convex and calmer):
                break
        else:
            return theta, value, gradient, iteration
        theta, value, gradient = trial, new_value, new_gradient
    return theta, value, gradient, iteration


def _newton_step(H: Any, gradient: Array) -> tuple[Array, bool]:
    """Solve H step = -gradient, up to a direction of negative curvature if there is one."""
    unit, most = np.ones_like(gradient), MOST_PRODUCTS // MOST_NEWTON_STEPS
    if isinstance(H, np.ndarray):
        most = 10 * len(gradient)
        unit /= np.sqrt(np.maximum(np.abs(np.diag(H)), SMALLEST_UNIT * np.abs(H).max()))
    step, left = np.zeros_like(gradient), -unit * gradient
    along, size = left, np.linalg.norm(left)
    for _ in range(most):
        moved = unit * (H @ (unit * along))
        bend = along @ moved
        if bend <= 1e-14 * np.linalg.norm(along) * np.linalg.norm(moved):
            return unit * (step if step.any() else along), False
        length = (left @ left) / bend
        step, new = step + length * along, left - length * moved
        if np.linalg.norm(new) <= 1e-4 * size:
            break
        along, left = new + (new @ new) / (left @ left) * along, new
    return unit * step, True


def influence(objective: Objective, theta: Array, curvature: Curvature, X: Array) -> Array:
    r"""Influence of rows on the minimiser, :math:`-H^\dagger \nabla \ell(\theta; x)`, shape (n, p).

    First-order effect of a row times the number of rows, in the gauge that is horizontal at
    theta. For large p solve for the derivatives of the few functionals that are wanted, and
    take ``objective.score_products`` with the solutions.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rows = ArraySource(np.array([[1.0], [3.0]]))
    >>> mean = Objective(lambda params, x: 0.5 * ((x - params) ** 2).sum(), rows, np.zeros(1))
    >>> influence(mean, np.array([2.0]), Curvature(np.eye(1), np.zeros((0, 1))), rows.X).tolist()
    [[-1.0], [1.0]]
    """
    return -curvature.solve(objective.scores(theta, X).T).T


def covariance(objective: Objective, theta: Array, curvature: Curvature) -> Array:
    r"""Limit :math:`\Sigma_1 = H^\dagger S H^\dagger` of m times the covariance of the minimiser.

    Shape (p, p), singular along the orbit; robust to misspecification. First order in 1/m.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.sources import ArraySource
    >>> rows = ArraySource(np.array([[1.0], [3.0]]))
    >>> mean = Objective(lambda params, x: 0.5 * ((x - params) ** 2).sum(), rows, np.zeros(1))
    >>> covariance(mean, np.array([2.0]), Curvature(np.eye(1), np.zeros((0, 1)))).tolist()
    [[1.0]]
    """
    return curvature.solve(curvature.solve(objective.meat(theta)).T)
