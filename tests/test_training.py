"""Networks and their training: the loss against brute force, same seed same result, kill -9."""

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from foretell.data.augmentations import Compose, Mask, Noise
from foretell.data.image_augmentations import Affine, Contrast
from foretell.data.sources import ArraySource, ChunkSource
from foretell.data.views import AugmentedSource, PairSource
from foretell.errors import ConvergenceError, InputError, MissingExtraError
from foretell.training import CNN, MLP, Network, Training, spectral_loss, train
from foretell.training.batches import BLOCK, scaling, views_of
from foretell.training.fingerprints import identity
from foretell.training.networks import capped

QUICK = Training(epochs=4, batch_size=64, learning_rate=3e-3)
SMALL = MLP(hidden=(16,))
NOISE = Noise(0.2)


@functools.cache
def digits():
    return load_digits(return_X_y=True)[0] / 16


@pytest.fixture
def X(rng):
    return rng.standard_normal((200, 5)) @ rng.standard_normal((5, 5))


def fit(X, augment=NOISE, encoder=SMALL, rank=3, training=QUICK, seed=0):
    return train(encoder, X, augment, rank=rank, training=training, random_state=seed)


def equal(a, b):
    pairs = zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs) and np.array_equal(a.losses, b.losses)


# ------------------------------------------------------------------ the loss


def test_loss_is_the_double_loop(rng):
    """Sum over pairs of different rows and of their views, one by one."""
    first, second = rng.standard_normal((2, 7, 3))
    weights = rng.uniform(0.5, 2, 7)
    b, total = len(first), 0.0
    for i, j in itertools.permutations(range(b), 2):
        for u, v in itertools.product((first[i], second[i]), (first[j], second[j])):
            total += weights[i] * weights[j] * (u @ v) ** 2 / (4 * b * (b - 1))
    for i in range(b):
        total -= 2 * weights[i] * first[i] @ second[i] / b
    with jax.enable_x64(True):
        assert float(spectral_loss(first, second, weights)) == pytest.approx(total, rel=1e-13)


def test_mean_over_batches_is_the_loss_of_the_graph(rng):
    """Over all batches of two independent pairs: the squared distance to the normalised graph."""
    n, rows, rank = 6, 15, 3
    ends = rng.integers(0, n, (rows, 2))
    ends[:n] = np.arange(n)[:, None]
    W = np.zeros((n, n))
    np.add.at(W, (ends[:, 0], ends[:, 1]), 0.5 / rows)
    np.add.at(W, (ends[:, 1], ends[:, 0]), 0.5 / rows)
    degrees = W.sum(axis=1)
    adjacency = W / np.sqrt(np.outer(degrees, degrees))
    f = rng.standard_normal((n, rank))
    F = np.sqrt(degrees)[:, None] * f
    expected = ((adjacency - F @ F.T) ** 2).sum() - (adjacency**2).sum()
    first, second = f[ends[:, 0]], f[ends[:, 1]]
    with jax.enable_x64(True):
        loss = jax.jit(spectral_loss)
        batches = [np.array(pair) for pair in itertools.product(range(rows), repeat=2)]
        found = np.mean([float(loss(first[b], second[b], np.ones(2))) for b in batches])
    assert found == pytest.approx(expected, rel=1e-12)


def test_subsets_estimate_the_whole_without_bias(rng):
    first, second = rng.standard_normal((2, 6, 2))
    weights = rng.uniform(0.5, 2, 6)
    with jax.enable_x64(True):
        whole = float(spectral_loss(first, second, weights))
        for size in (2, 3, 5):
            parts = [np.array(part) for part in itertools.combinations(range(6), size)]
            found = np.mean([spectral_loss(first[p], second[p], weights[p]) for p in parts])
            assert found == pytest.approx(whole, rel=1e-12)


def test_training_reaches_the_minimum_of_a_graph(rng):
    """A table as encoder on one-hot rows: minus the sum of the largest squared eigenvalues."""
    n, rank, copies = 5, 2, 400
    W = np.exp(-np.abs(np.subtract.outer(np.arange(n), np.arange(n))))
    counts = np.rint(copies * W).astype(int)
    ends = np.repeat(np.argwhere(np.ones((n, n))), counts.ravel(), axis=0)
    degrees = counts.sum(axis=1) / counts.sum()
    adjacency = counts / counts.sum() / np.sqrt(np.outer(degrees, degrees))
    values, vectors = np.linalg.eigh(adjacency)
    top = vectors[:, -rank:]
    table = Network(
        init=lambda key, n_columns, rank: jax.random.normal(key, (n_columns, rank)),
        apply=lambda params, X: X @ params,
    )
    settings = Training(
        epochs=400,
        batch_size=len(ends),
        learning_rate=0.05,
        scale_inputs=None,
        norm_cap=None,
        dtype="float64",
    )
    pairs = PairSource(*(np.eye(n)[side] for side in ends.T))
    trained = train(table, pairs, rank=rank, training=settings)
    F = np.sqrt(degrees)[:, None] * trained.features(np.eye(n))
    gap = ((adjacency - F @ F.T) ** 2).sum() - (adjacency**2).sum() + (values[-rank:] ** 2).sum()
    assert 0 <= gap < 1e-4
    Q, _ = np.linalg.qr(F)
    assert np.linalg.svd(Q.T @ top, compute_uv=False).min() > 1 - 1e-4


def test_cap_shrinks_long_features_only(rng):
    Z = rng.standard_normal((50, 4))
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    with jax.enable_x64(True):
        assert np.allclose(capped(Z, 1.5), Z * np.minimum(1, 1.5 / norms), rtol=1e-14)
        assert np.isfinite(jax.jacobian(lambda z: capped(z, 1.0))(np.zeros((1, 4)))).all()
    assert capped(Z, None) is Z


def test_features_stay_below_the_cap(X):
    cap = Training(epochs=4, batch_size=64, norm_cap=0.7)
    norms = np.linalg.norm(fit(X, training=cap).features(X), axis=1)
    assert norms.max() < 0.7 * (1 + 1e-6)
    assert norms.max() > 0.69


# ------------------------------------------------------------------ encoders


def test_convolution_is_that_of_jax(rng):
    """One layer, then the flattened image, against lax.conv_general_dilated."""
    encoder = CNN(shape=(7, 6, 2), channels=(3,), hidden=4)
    params = encoder.init(jax.random.PRNGKey(1), 84, 2)
    rows = rng.standard_normal((5, 84)).astype(np.float32)
    kernel = params[0]["weight"].reshape(3, 3, 2, 3)
    image = jax.lax.conv_general_dilated(
        rows.reshape(5, 7, 6, 2),
        kernel,
        (2, 2),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    hidden = jax.nn.relu(image).reshape(5, -1)
    hidden = jax.nn.relu(hidden @ params[1]["weight"])
    expected = hidden @ params[2]["weight"]
    assert np.allclose(encoder.apply(params, rows), expected, atol=1e-5)


def test_layer_norm_ignores_the_scale_of_a_row(rng):
    encoder = MLP(hidden=(8,), layer_norm=True)
    params = encoder.init(jax.random.PRNGKey(0), 5, 2)
    rows = rng.standard_normal((4, 5))
    assert np.allclose(encoder.apply(params, rows), encoder.apply(params, 7 * rows), atol=1e-3)


@pytest.mark.parametrize("encoder", [MLP((8,), layer_norm=True), CNN((8, 8), (2,), 8)])
def test_encoders_train_on_images(encoder):
    trained = fit(digits()[:200], encoder=encoder)
    assert trained.losses[-1] < trained.losses[0]
    assert trained.features(digits()[:100]).shape == (100, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MLP(hidden=(0,)), "hidden holds whole numbers of at least one"),
        (lambda: MLP(hidden=3), "hidden holds whole numbers"),
        (lambda: CNN(shape=(8,)), r"shape \(h, w\)"),
        (lambda: CNN(channels=(1.5,)), "channels holds whole numbers"),
        (lambda: Training(epochs=0), "epochs is a whole number >= 1; found 0"),
        (lambda: Training(batch_size=1), "batch_size is a whole number >= 2"),
        (lambda: Training(learning_rate=np.nan), "learning_rate is a positive number"),
        (lambda: Training(norm_cap=0.0), "norm_cap is a positive number"),
        (lambda: Training(weight_decay=-1), "weight_decay is a number >= 0"),
        (lambda: Training(dtype="float16"), "dtype is one of"),
    ],
)
def test_settings_out_of_range(make, words):
    with pytest.raises(InputError, match=words):
        make()


def linear(apply):
    return Network(lambda key, d, rank: jax.random.normal(key, (d, rank)), apply)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (
            linear(lambda params, X: (X @ params)[:, :1]),
            r"expected real features of shape \(2, 3\)",
        ),
        (linear(lambda params, X: (X @ params).sum()), r"expected real features of shape \(2, 3\)"),
        (linear(lambda params, X: (X @ params).astype(int)), "expected real features"),
        (linear(lambda params, X: None), "turns 2 rows into None"),
        (Network(lambda key, d, rank: {}, lambda params, X: X), "pytree of arrays of real numbers"),
        (CNN((8, 8)), "images of shape .8, 8. have 64 pixels; found rows of 5 columns"),
    ],
)
def test_encoders_that_return_something_else(X, encoder, words):
    with pytest.raises(InputError, match=words):
        fit(X, encoder=encoder)


# ------------------------------------------------------------------ input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"augment": None}, "the set of augmentations is empty"),
        ({"augment": Compose()}, "the set of augmentations is empty"),
        ({"augment": []}, "the set of augmentations is empty"),
        ({"augment": [Noise(1.0)]}, "several become one by Compose"),
        ({"augment": lambda X, rng: X[:, 1:]}, r"rows of shape \(50, 5\) into \(50, 4\)"),
        ({"augment": lambda X, rng: X[1:]}, "the views of a row stay beside each other"),
        ({"augment": lambda X, rng: X * np.nan}, "returned numbers that are not finite"),
        ({"rank": 0}, "rank is a whole number >= 1; found 0"),
        ({"seed": -1}, "random_state is a whole number >= 0; found -1"),
        ({"seed": None}, "random_state is a whole number >= 0; found None"),
    ],
)
def test_bad_input(X, change, words):
    with pytest.raises(InputError, match=words):
        fit(X, **change)


def test_bad_rows(X):
    X[7, 2] = np.inf
    with pytest.raises(InputError, match=r"1 of rows 0 to 199 .* not finite .* first is row 7"):
        fit(X)
    with pytest.raises(InputError, match="at least 2 rows; found 1"):
        fit(X[:1])
    with pytest.raises(InputError, match="rows and columns"):
        fit(X[0])
    with pytest.raises(InputError, match="rows of real numbers"):
        fit(X.astype(complex))
    with pytest.raises(InputError, match="two views have shapes"):
        PairSource(X, X[1:])
    for n in (199, 201):
        with pytest.raises(InputError, match=f"expected {n} rows|has {n} rows but yields"):
            fit(ChunkSource(lambda: iter([X[8:], np.zeros((8, 5))]), (n, 5)))
    X[7, 2] = 1e60
    with pytest.raises(InputError, match="too large for float32"):
        fit(X)
    trained = fit(X[8:])
    with pytest.raises(InputError, match="trained on rows of 5 columns; found 4"):
        trained.features(X[:, 1:])
    with pytest.raises(InputError, match=r"pairs of views; pass \.observed"):
        trained.features(PairSource(X, X))
    with pytest.raises(InputError, match="not finite"):
        trained.features(X)


def test_sources_give_what_arrays_give(X):
    chunks = ChunkSource(lambda: iter(np.split(X, [30, 150])), X.shape)
    first, second = fit(X), fit(chunks)
    assert equal(first, second)
    assert np.array_equal(first.features(X), second.features(ArraySource(X)))


def test_pairs_need_no_augmentation(X):
    pairs = AugmentedSource(ArraySource(X), Noise(0.2))
    trained = fit(pairs, augment=None)
    assert trained.features(pairs.observed).shape == (200, 3)
    views = views_of(pairs, None, 64, 0, "float32")
    both = np.concatenate([np.hstack(batch[:2]) for batch in views.epoch(0)])
    given = np.concatenate([chunk.X for chunk in pairs.chunks()]).astype(np.float32)
    assert {row.tobytes() for row in both} <= {row.tobytes() for row in given}


@pytest.mark.parametrize(("n", "size"), [(10, 3), (3, 2), (2, 8), (100, 33), (64, 64)])
def test_batches_hold_every_row_at_most_once(rng, n, size):
    rows = np.arange(n, dtype=float)[:, None] @ np.ones((1, 2))
    views = views_of(rows, lambda X, rng: X, size, 0, "float64")
    batches = list(views.epoch(0))
    seen = np.concatenate([batch.first[:, 0] for batch in batches])
    assert len({len(batch.first) for batch in batches}) == 1
    assert len(batches[0].first) >= 2
    assert len(set(seen.tolist())) == len(seen) > n - len(batches)
    assert all(np.array_equal(batch.first, batch.second) for batch in batches)


def test_views_are_fresh_and_belong_to_their_place(X):
    """Of rows of zeros views are the noise itself; every one is new, and repeats at its place."""
    views = views_of(np.zeros((200, 5)), Noise(1.0), 64, 5, "float64")
    drawn = [view for k in (3, 4) for batch in views.epoch(k) for view in batch[:2]]
    again = [view for k in (3, 4) for batch in views.epoch(k) for view in batch[:2]]
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert len(np.unique(drawn)) == np.size(drawn) == 2 * 2 * 200 * 5
    assert np.std(drawn) == pytest.approx(1, rel=4 / np.sqrt(2 * np.size(drawn)))
    still = views_of(X, lambda X, rng: X, 64, 5, "float64")
    orders = [np.concatenate([batch.first for batch in still.epoch(k)]) for k in (3, 4, 3)]
    assert np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[1])


def test_weights_have_mean_one(X):
    weights = np.arange(1.0, 201)
    views = views_of(ArraySource(X, weights), Noise(1.0), 200, 0, "float64")
    batch = next(views.epoch(0))
    assert batch.weights.mean() == pytest.approx(1)
    assert np.sort(batch.weights) == pytest.approx(weights / 100.5)


@pytest.mark.parametrize("kind", ["overall", "columns", None])
def test_inputs_are_scaled_as_said(X, kind):
    X = X * [1, 10, 100, 1000, 0] + 5
    seen = []
    encoder = linear(lambda params, X: seen.append(X) or X @ params)
    trained = fit(X, encoder=encoder, training=Training(epochs=1, scale_inputs=kind, norm_cap=1.0))
    scaled = (X - trained.offset) / trained.scale
    if kind == "columns":
        assert np.allclose(scaled.std(axis=0), [1, 1, 1, 1, 0], atol=1e-4)
    elif kind == "overall":
        assert scaled.mean() == pytest.approx(0, abs=1e-4)
        assert scaled.std() == pytest.approx(1, abs=1e-4)
    else:
        assert np.array_equal(scaled, X)


@pytest.mark.parametrize("kind", ["overall", "columns"])
def test_scale_of_many_rows_is_that_of_all_of_them(rng, kind):
    """Block by block, in doubles, of single-precision rows far from zero."""
    X = (rng.standard_normal((2 * BLOCK + 5, 3)) * [1, 2, 0] + 1e4).astype(np.float32)
    offset, scale = scaling(X, kind)
    rows = X.astype(np.float64)
    axis = 0 if kind == "columns" else None
    assert np.allclose(offset, rows.mean(axis=axis), rtol=1e-12)
    expected = rows.std(axis=axis)
    assert np.allclose(scale, np.where(expected > 0, expected, 1.0), rtol=1e-9)


# ------------------------------------------------------------------ training


def test_same_seed_same_bits(X):
    first, second, other = fit(X), fit(X), fit(X, seed=1)
    assert equal(first, second)
    assert not equal(first, other)
    assert np.array_equal(first.features(X), second.features(X))


def test_precision_is_that_of_the_settings_whatever_the_caller_does(X):
    quiet, seen = fit(X), []
    with jax.enable_x64(True):
        loud = fit(X)
        fit(X, encoder=linear(lambda params, X: seen.append(jnp.ones(1).dtype) or X @ params))
        assert jnp.ones(1).dtype == np.float64
    assert equal(quiet, loud)
    assert set(seen) == {np.dtype(np.float32)}
    assert jnp.ones(1).dtype == np.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(loud.params)} == {np.dtype(np.float32)}
    doubles = Training(epochs=4, batch_size=64, learning_rate=3e-3, dtype="float64")
    double = fit(X, training=doubles)
    assert {leaf.dtype for leaf in jax.tree.leaves(double.params)} == {np.dtype(np.float64)}
    assert jnp.ones(1).dtype == np.float32


def test_divergence_is_an_error_that_names_the_cure(X):
    wild = Training(epochs=20, batch_size=64, learning_rate=1e4, schedule="constant", norm_cap=None)
    with pytest.raises(
        ConvergenceError, match=r"reduce learning_rate \(now 10000\), or set norm_c"
    ):
        fit(X, training=wild)


def test_growing_loss_is_an_error(X):
    wild = Training(
        epochs=2, batch_size=200, learning_rate=30.0, schedule="constant", norm_cap=None
    )
    with pytest.raises(ConvergenceError, match=r"the loss grew from .* features that are zero"):
        fit(X, training=wild, encoder=linear(lambda params, X: X @ params * 0.1))


def test_options_change_the_steps(X):
    plain = fit(X)
    for option in ({"weight_decay": 0.5}, {"max_gradient_norm": 0.1}, {"schedule": "constant"}):
        settings = Training(epochs=4, batch_size=64, learning_rate=3e-3, **option)
        assert not equal(plain, fit(X, training=settings))


def test_progress_goes_to_the_error_stream(X, capsys):
    fit(X, training=Training(epochs=2, progress=True))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2/2" in shown.err
    assert "loss" in shown.err


def test_result_reads_well(X):
    assert str(fit(X)).startswith("MLP(hidden=(16,), layer_norm=False): 3 features after 4 epochs")


@pytest.mark.parametrize("package", ["optax", "safetensors"])
def test_missing_package_names_the_extra(X, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.numpy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foretell\[networks\]'"):
        fit(X, training=Training(epochs=1, checkpoint=tmp_path / "c"))


# ------------------------------------------------------------------ checkpoints


def epoch_of(path):
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return int(header["__metadata__"]["epoch"])


class Stop(Exception):
    pass


def stopping(calls):
    """An augmentation of the same identity that fails after some calls."""
    left = [calls]

    class Failing(Noise):
        def __call__(self, X, rng):
            left[0] -= 1
            if left[0] < 0:
                raise Stop
            return super().__call__(X, rng)

    Failing.__qualname__ = "Noise"
    return Failing(0.2)


def test_resumed_is_uninterrupted(X, tmp_path):
    path = tmp_path / "run.safetensors"
    settings = Training(epochs=6, batch_size=64, checkpoint=path)
    whole = fit(X, training=Training(epochs=6, batch_size=64))
    with pytest.raises(Stop):
        fit(X, stopping(4 * 2 * 3 + 3), training=settings)  # 4 batches of 2 views, in epoch 4
    assert epoch_of(path) == 3
    assert equal(fit(X, training=settings), whole)
    assert epoch_of(path) == 6
    assert equal(fit(X, stopping(0), training=settings), whole)  # finished: nothing is drawn
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_rare_checkpoints_still_hold_the_end(X, tmp_path):
    path = tmp_path / "run"
    settings = Training(epochs=3, batch_size=64, checkpoint=path, checkpoint_seconds=1e6)
    with pytest.raises(Stop):
        fit(X, stopping(4 * 2 * 2), training=settings)
    assert not path.exists()
    fit(X, training=settings)
    assert epoch_of(path) == 3


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 1}, "random_state"),
        ({"rank": 2}, "rank"),
        ({"encoder": MLP(hidden=(17,))}, "encoder"),
        ({"augment": Noise(0.3)}, "augment"),
        ({"training": {"learning_rate": 1e-2}}, "learning_rate"),
        ({"training": {"epochs": 5}}, "epochs"),
        ({"X": 1.0}, "data"),
    ],
)
def test_other_runs_are_refused(X, tmp_path, change, name):
    path = tmp_path / "run"
    base = {"epochs": 2, "batch_size": 64, "checkpoint": path}
    fit(X, training=Training(**base))
    change["training"] = Training(**base | change.get("training", {}))
    change["X"] = X + change.get("X", 0.0)
    with pytest.raises(InputError, match=f"another run, which differs in {name} ") as error:
        fit(**change)
    assert ("cannot be prolonged" in str(error.value)) == (name == "epochs")


def test_damaged_checkpoints_are_refused(X, tmp_path):
    path = tmp_path / "run"
    settings = Training(epochs=2, batch_size=64, checkpoint=path)
    fit(X, training=settings)
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-3] ^= 0x40
    for bad in (good[:-10], good[:100], good[:5], b"", b"not a checkpoint, only text"):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="cannot be read, it is truncated or no checkpoint"):
            fit(X, training=settings)
    path.write_bytes(bytes(flipped))
    with pytest.raises(InputError, match="is damaged: remove the file"):
        fit(X, training=settings)
    path.write_bytes(good.replace(b'"epoch":"2"', b'"epoch":"1"'))
    with pytest.raises(InputError, match="is damaged: remove the file"):
        fit(X, training=settings)
    path.write_bytes(good)
    assert len(fit(X, training=settings).losses) == 2


def test_foreign_files_are_refused(X, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "run"
    save_file({"w": np.zeros(3)}, path)
    with pytest.raises(InputError, match="is not a checkpoint of this version"):
        fit(X, training=Training(epochs=1, checkpoint=path))
    for place in (tmp_path, tmp_path / "nowhere" / "run"):
        with pytest.raises(InputError, match="a checkpoint is a file in a folder that exists"):
            fit(X, training=Training(epochs=1, checkpoint=place))


def test_functions_have_an_identity_beyond_their_address():
    def make(k, word="a"):
        return lambda X, rng: X + k * len(word)

    assert identity(make(1)) == identity(make(1))
    assert identity(make(1)) != identity(make(2))
    assert identity(lambda X: X + 1) != identity(lambda X: X + 2)
    assert identity(np.arange(3)) != identity(np.arange(1, 4))
    assert identity(functools.partial(make, 1)) != identity(functools.partial(make, 2))
    assert "0x" not in identity(object())
    assert identity(Compose(Mask(0.1), Noise(1.0))) != identity(Compose(Mask(0.2), Noise(1.0)))


RUN = """
import sys
import numpy as np
from foretell.data.augmentations import Noise
from foretell.training import MLP, Training, train
X = np.random.default_rng(0).standard_normal((900, 16))
settings = Training(epochs=int(sys.argv[2]), batch_size=300, checkpoint=sys.argv[1])
train(MLP(hidden=(16,)), X, Noise(0.2), rank=3, training=settings)
"""


def killed(path, epochs, at, delay=0.0):
    """Epoch on disk after a process was killed once it had finished some epochs."""
    process = subprocess.Popen([sys.executable, "-c", RUN, str(path), str(epochs)])
    try:
        deadline = time.monotonic() + 120
        while not (path.exists() and epoch_of(path) >= at):
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(delay)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return epoch_of(path)


def resumed(path, epochs):
    settings = Training(epochs=epochs, batch_size=300, checkpoint=path)
    return fit(np.random.default_rng(0).standard_normal((900, 16)), training=settings)


def test_killed_training_resumes_to_the_same_result(tmp_path):
    """SIGKILL from outside; parameters then agree to 1e-6 (on one machine to the last bit)."""
    epochs = 250
    whole = resumed(tmp_path / "whole", epochs)
    assert killed(tmp_path / "run", epochs, at=2) < epochs
    again = resumed(tmp_path / "run", epochs)
    for a, b in zip(jax.tree.leaves(again.params), jax.tree.leaves(whole.params), strict=True):
        assert np.abs(a - b).max() <= 1e-6
    assert np.allclose(again.losses, whole.losses, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_killed_again_and_again(tmp_path, rng):
    """Kills at random moments, also while the file is being written."""
    epochs, path = 300, tmp_path / "run"
    reached = 0
    for _ in range(8):
        now = killed(path, epochs, reached + 1, delay=rng.uniform(0, 0.05))
        assert now > reached
        reached = now
    assert reached < epochs
    assert equal(resumed(path, epochs), resumed(tmp_path / "whole", epochs))


@pytest.mark.slow
def test_a_hundred_labels_are_enough_for_digits():
    """At least 95.5 % right on all others, over 20 draws of 100 labels; pixels reach 89 %."""
    X, y = load_digits(return_X_y=True)
    bend = Affine(
        (8, 8), rotation=15, scale=(0.85, 1.15), shear=0.2, shift=0.5, bend=0.3, bend_length=2
    )
    augment = Compose(bend, Contrast((0.7, 1.4), 0.1), Noise(0.1))
    settings = Training(epochs=150, batch_size=256, norm_cap=2.0)
    features = fit(X / 16, augment, MLP((512, 512)), 64, settings).features(X / 16)
    scores = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(X))
        some, others = order[:100], order[100:]
        F = (features - features[some].mean(axis=0)) / features[some].std()
        head = LogisticRegression(max_iter=1000).fit(F[some], y[some])
        scores.append(head.score(F[others], y[others]))
    assert np.mean(scores) >= 0.955
