"""Training of a network by the spectral contrastive loss, epoch after epoch."""

from __future__ import annotations

import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from foretell._types import Array
from foretell.data.augmentations import Augment
from foretell.data.numbers import whole_number
from foretell.data.sources import Source
from foretell.errors import ConvergenceError, InputError, MissingExtraError
from foretell.training.batches import Views, scaling, views_of
from foretell.training.checkpoints import Checkpoint, State
from foretell.training.fingerprints import fingerprint
from foretell.training.loss import spectral_loss
from foretell.training.networks import Encoder, capped
from foretell.training.progress import progress
from foretell.training.settings import Training, precision
from foretell.training.trained import Trained, cached

WARM = 0.05  # share of the steps in which the learning rate rises


def train(
    encoder: Encoder,
    source: Source | Array,
    augment: Augment | None = None,
    *,
    rank: int,
    training: Training | None = None,
    random_state: int = 0,
) -> Trained:
    r"""Train features whose mini-batch loss estimates the spectral contrastive loss without bias.

    .. math:: L(f) = -2 E\, f(x)^\top f(x^+) + E\, (f(x)^\top f(x'))^2,

    with :math:`x, x^+` two views of one row, freshly drawn in every epoch, and :math:`x'` a view
    of another row. Without a norm cap its minimum over all functions is minus the sum of the
    ``rank`` largest squared eigenvalues of the positive-pair graph, at least ``-rank``; the
    minimiser is unique up to rotations of the features. The same seed gives the same result on
    the same machine.

    Parameters
    ----------
    encoder
        :class:`MLP`, :class:`CNN`, :class:`Network`, or anything with their two methods.
    source
        Single rows, an array of shape (n, d) or a source, or pairs of views
        (:class:`~foretell.data.views.PairSource`). Rows are read once and kept in memory in the
        precision of the training, 4 n d bytes in ``float32``; nothing else grows with n.
    augment
        Makes both views of a row, see :mod:`foretell.data.augmentations` and
        :mod:`foretell.data.image_augmentations`; it sees one mini-batch at a time. None where
        the sample holds pairs.
    rank
        Number of features.
    training
        Settings; None for the defaults.
    random_state
        Seed of the start, of the order of rows and of the views, a whole number >= 0.

    Raises
    ------
    InputError
        If the sample, the augmentation, the rank or the seed cannot be used, views do not differ,
        the encoder returns another shape, or a checkpoint belongs to another run or is damaged.
    ConvergenceError
        If the loss is not finite, or grew until constant zero would do better.
    MissingExtraError
        If optax, or with a checkpoint safetensors, is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.augmentations import Noise
    >>> from foretell.training import MLP, Training
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> settings = Training(epochs=3, batch_size=64)
    >>> trained = train(MLP(hidden=(16,)), X, Noise(0.1), rank=2, training=settings)
    >>> trained.losses.shape, trained.features(X).shape
    ((3,), (200, 2))

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS. Section 3.2, Lemma 3.2.
    .. [2] Loshchilov & Hutter (2019). Decoupled weight decay regularization. ICLR.
    """
    _optax()
    training = training or Training()
    rank = whole_number(rank, "rank", 1)
    views = views_of(source, augment, training.batch_size, random_state, training.dtype)
    sides = views.rows.reshape(-1, views.columns)
    offset, scale = (
        part.astype(views.rows.dtype) for part in scaling(sides, training.scale_inputs)
    )
    with precision(training.dtype):
        start = _start(encoder, views, rank)
        step = cached(
            _step, encoder, training.norm_cap, training.max_gradient_norm, training.weight_decay
        )
        state = State(0, start, step.optimizer.init(start), np.zeros(0))
        checkpoint = _checkpoint(encoder, views, rank, training)
        state = _run(views, step.take, (offset, scale), state, training, checkpoint)
        params = jax.tree.map(np.asarray, state.params)
    if state.losses[-1] > max(0.0, state.losses[0]):
        raise ConvergenceError(
            f"the loss grew from {state.losses[0]:.3g} in the first epoch to "
            f"{state.losses[-1]:.3g}, more than that of features that are zero; {_cure(training)}"
        )
    return Trained(encoder, params, state.losses, rank, offset, scale, training)


def _run(
    views: Views,
    take: Any,
    scaling: tuple[Array, Array],
    state: State,
    training: Training,
    checkpoint: Checkpoint | None,
) -> State:
    if checkpoint is not None:
        state = checkpoint.resume(state)
    params, memory = jax.tree.map(jnp.asarray, (state.params, state.optimizer))
    saved = time.monotonic()
    with progress(training, state) as report:
        for epoch in range(state.epoch, training.epochs):
            losses = []
            for k, batch in enumerate(views.epoch(epoch)):
                if epoch == k == 0:
                    views.check_contrast(batch)
                done = (epoch + (k + 0.5) / views.n_batches) / training.epochs
                rate = views.rows.dtype.type(_rate(training, done))
                params, memory, loss = take(rate, *scaling, params, memory, *batch)
                losses.append(loss)
            loss = float(np.mean(np.array(losses, dtype=np.float64)))
            if not np.isfinite(loss):
                raise _diverged(np.array(losses), epoch, training)
            state = State(epoch + 1, params, memory, np.append(state.losses, loss))
            due = time.monotonic() - saved >= training.checkpoint_seconds
            if checkpoint is not None and (due or state.epoch == training.epochs):
                checkpoint.save(state)
                saved = time.monotonic()
            report(state)
    return state


class _Step(NamedTuple):
    """An optimiser, and its step from (rate, offset, scale, params, memory, *batch)."""

    optimizer: Any
    take: Any


@lru_cache(maxsize=16)
def _step(
    encoder: Encoder, norm_cap: float | None, max_gradient_norm: float | None, weight_decay: float
) -> _Step:
    """Compiled once for all runs that share it."""
    optax = _optax()

    def decays(params: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    parts = [optax.scale_by_adam(), optax.add_decayed_weights(weight_decay, decays)]
    if max_gradient_norm is not None:
        parts = [optax.clip_by_global_norm(max_gradient_norm), *parts]
    optimizer = optax.chain(*parts)

    def loss_of(params: Any, both: Any, weights: Any) -> Any:
        Z = capped(encoder.apply(params, both), norm_cap)
        b = len(weights)
        return spectral_loss(Z[:b], Z[b:], weights)

    def take(rate: Any, offset: Any, scale: Any, params: Any, memory: Any, *batch: Any) -> Any:
        first, second, weights = batch
        both = (jnp.concatenate([first, second]) - offset) / scale
        loss, gradient = jax.value_and_grad(loss_of)(params, both, weights)
        moves, memory = optimizer.update(gradient, memory, params)
        params = jax.tree.map(lambda leaf, move: leaf - rate * move, params, moves)
        return params, memory, loss

    return _Step(optimizer, jax.jit(take))


def _rate(training: Training, done: float) -> float:
    """Learning rate when a share of the steps, from 0 to 1, is done."""
    if training.schedule == "constant":
        return training.learning_rate
    if done < WARM:
        return training.learning_rate * done / WARM
    return training.learning_rate * (1 + math.cos(math.pi * (done - WARM) / (1 - WARM))) / 2


def _optax() -> Any:
    try:
        import optax
    except ImportError as error:
        raise MissingExtraError(
            "training a network needs optax, which is not installed; pip install "
            "'foretell[networks]'"
        ) from error
    return optax


def _start(encoder: Encoder, views: Views, rank: int) -> Any:
    """Starting parameters, after a check of what the encoder makes of a few rows."""
    seed = int(np.random.SeedSequence(views.seed).generate_state(1)[0])
    params = jax.tree.map(jnp.asarray, encoder.init(jax.random.PRNGKey(seed), views.columns, rank))
    leaves = jax.tree.leaves(params)
    if not leaves or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise InputError(
            "parameters of an encoder are a pytree of arrays of real numbers; found "
            f"{[str(leaf.dtype) for leaf in leaves]}"
        )
    rows = jax.ShapeDtypeStruct((2, views.columns), views.rows.dtype)
    found = jax.eval_shape(encoder.apply, params, rows)
    if getattr(found, "shape", None) != (2, rank) or not jnp.issubdtype(found.dtype, jnp.floating):
        raise InputError(
            f"the encoder turns 2 rows into {found}; expected real features of shape (2, {rank}), "
            "a row for each row, as many columns as the rank"
        )
    return jax.tree.map(lambda leaf: leaf.astype(views.rows.dtype), params)


def _checkpoint(encoder: Encoder, views: Views, rank: int, training: Training) -> Checkpoint | None:
    if training.checkpoint is None:
        return None
    return Checkpoint(Path(training.checkpoint), fingerprint(encoder, views, rank, training))


def _diverged(losses: Array, epoch: int, training: Training) -> ConvergenceError:
    bad = int(np.flatnonzero(~np.isfinite(losses))[0])
    return ConvergenceError(
        f"the loss is {losses[bad]} in batch {bad + 1} of {len(losses)} of epoch {epoch + 1}; "
        f"{_cure(training)}"
    )


def _cure(training: Training) -> str:
    cures = [f"reduce learning_rate (now {training.learning_rate:g})"]
    if training.norm_cap is None:
        cures.append("set norm_cap=2.0")
    if training.max_gradient_norm is None:
        cures.append("set max_gradient_norm=1.0")
    if training.scale_inputs is None:
        cures.append("let scale_inputs bring the rows to a common scale")
    return ", or ".join(cures)
