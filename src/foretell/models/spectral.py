r"""Spectral contrastive learning from positive pairs, of linear features or of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from foretell._parameters import Parameters
from foretell.data.augmentations import Augment
from foretell.data.sources import Source
from foretell.data.views import AugmentedSource
from foretell.errors import InputError
from foretell.models.canonical import check_identified
from foretell.models.loss_model import LossModel, spectral_loss
from foretell.models.spectral_encoder import SpectralEncoder
from foretell.symmetry import Orthogonal

if TYPE_CHECKING:
    from foretell.models.loss_encoder import LossEncoder
    from foretell.models.network_encoder import NetworkEncoder


class SpectralContrastive(Parameters):
    r"""Linear features :math:`f(x) = \theta^\top (x - \mu)` that agree between two views.

    Minimises, over :math:`\theta \in R^{d \times r}` and all pairs of rows,

    .. math:: L(\theta) = -2 E\, f(x)^\top f(x_+) + E\, (f(x)^\top f(x'))^2,

    with :math:`x, x_+` views of one row and :math:`x, x'` views of two. Neither view is the
    first: moments are averaged over both. The minimiser, unique up to O(r), is closed form,
    :math:`\theta\theta^\top = \Sigma^{-1/2} [\Sigma^{-1/2} \Sigma_+ \Sigma^{-1/2}]_r
    \Sigma^{-1/2}`: canonical correlation analysis between the views. It does not depend on the
    units of the columns, so ``standardize`` changes nothing.

    The closed form is the V-statistic, in which x' may be a view of the same row. It equals the
    U-statistic to first order; both move with the Hoeffding projection of the loss of pairs of
    rows (:meth:`~foretell.models.spectral_encoder.SpectralEncoder.scores`). Inference does not
    rest on normal rows: the meat is empirical.

    Features of one's own, written in JAX, are fitted by optimisation of the U-statistic
    (:class:`~foretell.LossModel`), which costs all pairs of rows a step; laws and errors hold
    both stages, as for linear features. A network (``encoder``) is trained by mini-batches with
    fresh views in every epoch, on any number of rows; laws and errors are then conditional on the
    trained network (:class:`~foretell.models.network_encoder.NetworkEncoder`).

    Parameters
    ----------
    rank
        Number r of features, a whole number of at least one; below the number of columns, except
        for networks.
    augment
        Makes a view of rows, see :mod:`foretell.data.augmentations`; None where samples are pairs
        already (:class:`~foretell.data.views.PairSource`).
    random_state
        Seed of the views and starts, a whole number.
    encode
        Features of one view, ``encode(params, x)``, shape (r,), in JAX; None for linear ones.
    init, act
        With ``encode``: starting parameters, and ``act(params, g)``, how an orthogonal g moves
        them so that features become ``encode(params, x) @ g``; as in ``LossModel``.
    n_init
        Random starts of the optimisation.
    encoder
        A network: :class:`~foretell.training.MLP`, :class:`~foretell.training.CNN`, or any other
        by :class:`~foretell.training.Network`; None for linear features, or those of ``encode``.
    training
        :class:`~foretell.training.Training` of the network; None for its defaults.

    Examples
    --------
    >>> import numpy as np
    >>> from foretell.data.views import PairSource
    >>> rng = np.random.default_rng(0)
    >>> z, W = rng.normal(size=(500, 2)), rng.normal(size=(2, 6))
    >>> views = [z @ W + 0.5 * rng.normal(size=(500, 6)) for _ in range(2)]
    >>> encoder = SpectralContrastive(rank=2).fit(PairSource(*views))
    >>> encoder.spectrum().round(1).tolist()[:3]
    [0.9, 0.8, 0.2]

    References
    ----------
    .. [1] HaoChen, Wei, Gaidon & Ma (2021). Provable guarantees for self-supervised deep learning
       with spectral contrastive loss. NeurIPS. Section 3.2.
    .. [2] Hotelling (1936). Relations between two sets of variates. Biometrika 28.
    """

    def __init__(
        self,
        rank: int,
        augment: Augment | None = None,
        random_state: int = 0,
        *,
        encode: Callable[[Any, Any], Any] | None = None,
        init: Any = None,
        act: Callable[[Any, Any], Any] | None = None,
        n_init: int = 3,
        encoder: Any = None,
        training: Any = None,
    ) -> None:
        self.rank = rank
        self.augment = augment
        self.random_state = random_state
        self.encode = encode
        self.init = init
        self.act = act
        self.n_init = n_init
        self.encoder = encoder
        self.training = training

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``training__epochs`` sets that of the training, given or not."""
        if self.training is None and any(name.startswith("training__") for name in params):
            from foretell.training import Training

            self.training = Training()
        return super().set_params(**params)

    @property
    def standardizes(self) -> bool:
        """Whether columns may be standardised: linear features are the same in all units."""
        return self.encode is None and self.encoder is None

    @property
    def takes_any_columns(self) -> bool:
        """Whether columns may be constant or repeat each other, as for networks."""
        return self.encoder is not None

    @property
    def pairwise(self) -> bool:
        """Whether the loss is evaluated pair by pair, as for features of one's own."""
        return self.encode is not None

    def with_views(self, source: Source) -> Source:
        """Pairs of views: the sample itself if it holds pairs, else two views of every row.

        A network is given the rows themselves: its training draws views anew in every epoch.

        Raises
        ------
        InputError
            If the sample holds single rows and there is no augmentation.
        """
        if source.paired:
            return source
        if self.augment is None:
            raise InputError(
                "contrastive pre-training needs two views of every row; found single rows and "
                "augment=None; set augment, e.g. Noise(0.1) or Mask(0.2), or give pairs by "
                "PairSource(first, second)"
            )
        if self.encoder is not None:
            return source
        return AugmentedSource(source, self.augment, self.random_state)

    def fit(
        self,
        source: Source,
        *,
        standardize: bool = False,
        center: bool = True,
        max_rank: int | None = None,
    ) -> SpectralEncoder | LossEncoder | NetworkEncoder:
        """Fit to a sample of pairs; views of single rows are made by :meth:`with_views`.

        Parameters
        ----------
        source
            The sample; sums over its rows enter the encoder, rows do not.
        standardize
            Without effect for linear features, which are the same in all units of the columns;
            refused for others.
        center
            Estimate the mean of the views; without, it is taken to be zero. Without effect for
            features of one's own.
        max_rank
            Without effect: the rank is given.

        Raises
        ------
        InputError
            If the rank is not a whole number from 1 to d - 1, there are no more rows than
            columns, or there are no views.
        IdentificationError
            If columns are constant or linearly dependent, fewer than r directions are shared, or
            correlations r and r + 1 are equal.
        """
        pairs = self.with_views(source)
        self._check_rank()
        if self.encoder is not None:
            return self._network(pairs, standardize=standardize)
        if self.training is not None:
            raise InputError(
                "training is for networks trained by mini-batches; give encoder=MLP(...) too, or "
                "leave out training"
            )
        self._check(pairs)
        if self.encode is not None:
            return self._own_encoder().fit(pairs, standardize=standardize)
        sample, seen = pairs.moments, pairs.observed.moments
        encoder = SpectralEncoder.from_moments(
            sample if center else sample.about_origin(), seen, int(self.rank), centered=center
        )
        check_identified(encoder.correlations, encoder.rank)
        return encoder

    def _own_encoder(self) -> LossModel:
        """The same loss by optimisation."""
        if self.encode is None or self.init is None or self.act is None:
            raise InputError(
                "features of one's own need encode, init and act: their starting values, and how "
                "a rotation g of the features moves the parameters"
            )
        loss, of_pairs = spectral_loss(self.encode)
        return LossModel(
            loss, self.init, self.encode, Orthogonal(int(self.rank)), self.act, of_pairs,
            n_init=self.n_init, random_state=self.random_state,
        )  # fmt: skip

    def _network(self, source: Source, *, standardize: bool) -> NetworkEncoder:
        """A network trained by mini-batches."""
        if self.encode is not None:
            raise InputError(
                "encoder (a network trained by mini-batches) and encode (features fitted by "
                "optimisation) are both given; leave out one of them"
            )
        if standardize:
            raise InputError(
                "a network sees the columns as they are; pass standardize=False, and scale by "
                "Training(scale_inputs='columns'), or beforehand"
            )
        if source.paired and self.augment is not None:
            raise InputError(
                "the sample holds pairs of views and the model has an augmentation too; leave out "
                "one of them"
            )
        lacking = [name for name in ("init", "apply") if not hasattr(self.encoder, name)]
        if isinstance(self.encoder, type) or lacking:
            raise InputError(
                f"encoder is {self.encoder!r}; expected a network such as MLP(hidden=(256, 256)), "
                "or Network(init, apply) around one's own"
            )
        from foretell.models.network_encoder import NetworkEncoder
        from foretell.training import Training, train

        training = Training() if self.training is None else self.training
        if not isinstance(training, Training):
            raise InputError(f"training is {training!r}; expected Training(epochs=..., ...)")
        trained = train(
            self.encoder, source, self.augment, rank=int(self.rank), training=training,
            random_state=self.random_state,
        )  # fmt: skip
        return NetworkEncoder.over(source, trained)

    def _check_rank(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int | np.integer):
            raise InputError(
                f"rank is a whole number for contrastive pre-training ('auto' is not offered); "
                f"found {self.rank!r}"
            )
        if self.rank < 1:
            raise InputError(f"the rank is at least 1; found rank {self.rank}")

    def _check(self, pairs: Source) -> None:
        m, d = pairs.rows, pairs.columns // 2
        if d < 2:
            raise InputError(
                f"contrastive pre-training needs at least 2 columns; found {d} feature(s) "
                f"(n_features = {d})"
            )
        if self.rank >= d:
            raise InputError(
                f"the rank is below the number of columns; found rank {self.rank} "
                f"with {d} columns; choose rank <= {d - 1}"
            )
        if m <= d:
            raise InputError(
                f"found {m} pairs (n_samples = {m}) of {d} columns: with no more rows than "
                f"columns, views seem to agree where they do not; collect at least {d + 1} pairs, "
                "or reduce the columns"
            )
