"""Features learned from labels, to compare with those learned without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Augment
from foretell.errors import ConvergenceError, IdentificationError, InputError, MissingExtraError
from foretell.experiments.feature_maps import FeatureMap


class SupervisedModel(Protocol):
    """Learns features, shape (n, r), from rows and classes."""

    def fit(self, X: Array, y: Array, *, random_state: int = 0) -> FeatureMap:
        """Features of rows as a function, from rows (n, d) and codes 0, ..., K - 1 (n,)."""


@dataclass(frozen=True)
class ReducedRank:
    r"""Linear features of a linear network trained on one-hot labels by squared error.

    The minimiser over networks of width r is reduced-rank regression: with B the least-squares
    coefficients (d, K) and :math:`V_r` the leading eigenvectors of the covariance of the
    fitted values, features are :math:`x^\top B V_r`; from r = K - 1 on they span the
    discriminant directions. Closed form.

    Parameters
    ----------
    rank
        Most features r; there are min(r, K - 1).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 3
    >>> X = rng.normal(size=(60, 4)) + 5 * np.eye(3, 4)[y]
    >>> ReducedRank(rank=2).fit(X, y)(X).shape
    (60, 2)

    References
    ----------
    .. [1] Izenman (1975). Reduced-rank regression for the multivariate linear model. J. of
       Multivariate Analysis 5.
    .. [2] Baldi & Hornik (1989). Neural networks and principal component analysis. Neural
       Networks 2. Linear networks.
    """

    rank: int

    def fit(self, X: Array, y: Array, *, random_state: int = 0) -> FeatureMap:
        """Features from rows (n, d) and codes (n,); nothing is random.

        Raises
        ------
        IdentificationError
            If columns are linearly dependent in this sample, as with n <= d.
        """
        center = X.mean(axis=0)
        present, codes = np.unique(y, return_inverse=True)
        Y = np.eye(len(present))[codes]
        B, _, found, _ = np.linalg.lstsq(X - center, Y - Y.mean(axis=0))
        if found < X.shape[1]:
            raise IdentificationError(
                f"supervised least squares on {X.shape[1]} columns: the {len(X)} rows span only "
                f"{found} directions; replace columns by their leading principal components, or "
                "use more rows"
            )
        V = np.linalg.svd((X - center) @ B, full_matrices=False)[2]
        directions = B @ V[: min(self.rank, len(present) - 1)].T
        return lambda rows: np.asarray((rows - center) @ directions)


@dataclass(frozen=True, eq=False)
class SupervisedNetwork:
    """A network trained with a linear head on top by cross-entropy; the head is dropped.

    Batches, augmentation, AdamW with its schedule and the scale of inputs are those of
    :func:`foretell.training.train`, with one view of each row in a step. All rows count alike.

    Parameters
    ----------
    encoder
        :class:`~foretell.training.MLP`, :class:`~foretell.training.CNN`, or one's own by
        :class:`~foretell.training.Network`; hashable.
    rank
        Number of features.
    augment
        Changes rows at random in each step; None leaves them.
    training
        :class:`~foretell.training.Training`; None for the defaults. ``checkpoint`` and
        ``progress`` have no effect, nor has ``norm_cap``: the head sets the scale of features.

    Examples
    --------
    >>> from foretell.training import MLP, Training
    >>> X = np.random.default_rng(0).normal(size=(64, 4))
    >>> network = SupervisedNetwork(MLP(hidden=(8,)), 2, training=Training(epochs=2, batch_size=32))
    >>> network.fit(X, (X[:, 0] > 0).astype(int))(X).shape
    (64, 2)
    """

    encoder: Any
    rank: int
    augment: Augment | None = None
    training: Any = None

    def fit(self, X: Array, y: Array, *, random_state: int = 0) -> FeatureMap:
        """Features from rows (n, d) and codes (n,); the same seed gives the same features.

        Raises
        ------
        ConvergenceError
            If the loss is not finite.
        MissingExtraError
            If optax is not installed.
        """
        if find_spec("optax") is None:
            raise MissingExtraError(
                "training a network needs optax, which is not installed; pip install "
                "'foretell[networks]'"
            )
        import jax

        from foretell.training import Trained, Training
        from foretell.training.batches import scaling
        from foretell.training.settings import precision

        settings = self.training or Training()
        offset, scale = scaling(X, settings.scale_inputs)
        n, n_classes = len(X), int(y.max()) + 1
        n_batches = -(-n // settings.batch_size)
        size = n // n_batches  # all batches alike; the remainder waits for another epoch
        with precision(settings.dtype):
            rng = np.random.default_rng(random_state)
            seeds = jax.random.split(jax.random.PRNGKey(int(rng.integers(2**31))))
            head = jax.random.normal(seeds[0], (self.rank, n_classes)) / np.sqrt(self.rank)
            start = self.encoder.init(seeds[1], X.shape[1], self.rank)
            params = {"encoder": start, "head": head, "intercept": np.zeros(n_classes)}
            params = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, settings.dtype), params)
            optimizer, step = _compiled(self.encoder, settings, n_batches)
            memory = optimizer.init(params)
            losses = []
            for _ in range(settings.epochs):
                order = rng.permutation(n)
                total = 0.0
                for k in range(n_batches):
                    rows = order[k * size : (k + 1) * size]
                    view = X[rows] if self.augment is None else self.augment(X[rows].copy(), rng)
                    view = np.asarray((view - offset) / scale, dtype=settings.dtype)
                    params, memory, loss = step(params, memory, view, y[rows])
                    total += float(loss)
                losses.append(total / n_batches)
            learned = jax.tree.map(np.asarray, params["encoder"])
        if not np.isfinite(losses).all():
            raise ConvergenceError(
                "the cross-entropy of the supervised network is not finite; reduce learning_rate "
                f"(now {settings.learning_rate:g})"
            )
        free = replace(settings, norm_cap=None)
        return Trained(
            self.encoder, learned, np.array(losses), self.rank, offset, scale, free
        ).features


def supervised_counterpart(model: Any) -> SupervisedModel:
    """The supervised model of the same architecture as a pre-training model.

    The network of a model that has one as ``encoder``, else linear features of the same rank.

    Raises
    ------
    InputError
        If the model has no rank.
    """
    rank = getattr(model, "rank", None)
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer):
        raise InputError(
            f"the model has no rank that is a whole number (found {rank!r}); set supervised="
            "ReducedRank(rank), SupervisedNetwork(encoder, rank) or a model of your own"
        )
    if (encoder := getattr(model, "encoder", None)) is not None:
        training = getattr(model, "training", None)
        return SupervisedNetwork(encoder, int(rank), getattr(model, "augment", None), training)
    return ReducedRank(int(rank))


@lru_cache(maxsize=4)  # so that fits of the same shape in repeated draws compile once
def _compiled(encoder: Any, settings: Any, n_batches: int) -> tuple[Any, Any]:
    """The optimizer, and one step of it."""
    import jax
    import optax

    steps, rate = settings.epochs * n_batches, settings.learning_rate
    if settings.schedule == "cosine":
        warm = max(1, steps // 20)
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, warm, max(steps, warm + 1))
    optimizer = optax.adamw(
        rate,
        weight_decay=settings.weight_decay,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
    if settings.max_gradient_norm is not None:
        clip = optax.clip_by_global_norm(settings.max_gradient_norm)
        optimizer = optax.chain(clip, optimizer)

    def loss_of(params: Any, X: Any, y: Any) -> Any:
        logits = encoder.apply(params["encoder"], X) @ params["head"] + params["intercept"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(params: Any, memory: Any, X: Any, y: Any) -> Any:
        loss, gradient = jax.value_and_grad(loss_of)(params, X, y)
        updates, memory = optimizer.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, loss

    return optimizer, jax.jit(step)
