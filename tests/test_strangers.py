"""What a newcomer gets wrong: every mistake ends in words that name it and its cure."""

import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import GridSearchCV

from foretell import FactorModel, NeighborsClassifier, TwoStageClassifier
from foretell.data.augmentations import Compose, Mask, Noise
from foretell.data.image_augmentations import Affine, Contrast, Shift
from foretell.data.sources import ArraySource
from foretell.data.views import AugmentedSource
from foretell.errors import InputError
from foretell.experiments.crossings import Crossing
from foretell.experiments.domain_result import ALONE, CONTRASTIVE, RAW, DomainAdaptation
from foretell.experiments.domains import Domains
from foretell.experiments.imbalance_result import Accuracies, ImbalanceGap
from foretell.experiments.label_forecast import forecast_claim
from foretell.experiments.labeled_features import checked_target
from foretell.models import SpectralContrastive
from foretell.models.network_encoder import unevenness
from foretell.training import MLP, Training, progress, train
from foretell.training.checkpoints import State

BRIEF = Training(epochs=2, batch_size=64)
SMALL = MLP(hidden=(8,))


def two_classes(n=200):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=n)
    return 0.8 * y[:, None] * np.ones((1, 6)) + rng.normal(size=(n, 6)), y


CLASSIFIERS = [TwoStageClassifier(FactorModel(rank=1)), NeighborsClassifier(FactorModel(rank=1))]


# labels


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("text", ["", "nan", "None", "NA", "<NA>"])
def test_missing_labels_that_became_text_are_pointed_out(classifier, text):
    X, y = two_classes()
    labels = np.array(["ape", "bee"])[y].astype("<U4")
    labels[50:] = text
    with pytest.warns(UserWarning, match=f"150 rows have the text '{text}'.*with None or np.nan"):
        clone(classifier).fit(X, labels)
    told = labels.astype(object)
    told[told == text] = None
    assert clone(classifier).fit(X, told).n_labeled_ == 50


def test_experiments_point_them_out_too():
    X, y = two_classes(60)
    labels = np.where(y == 1, "bee", "nan")
    with pytest.warns(UserWarning, match="have the text 'nan'.*leave these rows out"):
        checked_target(labels, 60, "y")
    with pytest.warns(UserWarning, match="have the text 'nan'.*leave these rows out"):
        Domains.checked(X, labels, X, None)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_test_labels_of_another_type_are_refused(classifier):
    X, y = two_classes()
    est = clone(classifier).fit(X, y)
    both = r"'0', '1' \(type str\), is one of the fit, 0, 1 \(type int\)"
    with pytest.raises(InputError, match=both):
        est.accuracy(X, y.astype(str))
    with pytest.raises(InputError, match=both):
        est.score(X, y.astype(str))
    with pytest.raises(InputError, match="7, 8"):
        est.score(X, y + 7)
    assert est.score(X, y.astype(float)) == est.score(X, y) == est.score(X, y == 1)
    assert est.score(X[:3], [7, 7, 7]) == 0.0
    with pytest.raises(InputError, match=r"0, 1 \(type int\), is one of the fit, '0', '1'"):
        clone(classifier).fit(X, y.astype(str)).score(X, y)


# augmentations


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        (Noise(0), r"leaves the rows as they are.*Noise\(scale=0.0\)"),
        (Mask(0.0), "leaves the rows as they are"),
        (Affine((2, 3)), "leaves the rows as they are"),
        (Compose(Noise(0), Shift((2, 3), 0)), "leaves the rows as they are"),
        (lambda X, rng: X, "leaves the rows as they are"),
        (lambda X, rng: 2 * X, "makes the same view of a row every time"),
        (Noise, r"such as Noise\(0.1\); found the class Noise"),
        (lambda X: X, r"augment\(rows, rng\)"),
        (Affine((28, 28), rotation=5.0), "784 pixels; found rows of 6 columns"),
    ],
)
def test_augmentations_that_cannot_teach(augment, words):
    X, _ = two_classes()
    with pytest.raises(InputError, match=words):
        train(SMALL, X, augment, rank=2, training=BRIEF)


def test_rare_changes_are_enough():
    """The first batch, of two rows, stays as it is; others do not."""
    X, _ = two_classes(4)
    train(SMALL, X, Mask(0.001), rank=2, training=Training(epochs=1, batch_size=2))


@pytest.mark.parametrize(
    ("augment", "words"), [(Noise, "found the class Noise"), (lambda X: X, r"augment\(rows, rng\)")]
)
def test_views_for_linear_features_are_checked_too(augment, words):
    with pytest.raises(InputError, match=words):
        AugmentedSource(ArraySource(np.ones((5, 2))), augment)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Affine((8, 8), scale=0.9), r"\(low, high\).*found 0.9"),
        (lambda: Contrast(0.5), r"\(low, high\).*found 0.5"),
        (lambda: Affine(8), r"shape \(h, w\).*found 8"),
        (lambda: Compose(Mask(0.1), Noise), "found the class Noise"),
        (lambda: Compose([Mask(0.1), Noise(1)]), "several become one by Compose"),
    ],
)
def test_one_number_where_there_are_two(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_images_are_to_be_flattened(classifier):
    X, y = two_classes()
    with pytest.raises(InputError, match=r"flatten images: X.reshape\(len\(X\), -1\)"):
        clone(classifier).fit(X.reshape(-1, 2, 3), y)
    with pytest.raises(InputError, match="flatten images"):
        train(SMALL, X.reshape(-1, 2, 3), Noise(0.1), rank=2, training=BRIEF)


# networks


@pytest.mark.parametrize(
    ("scale_inputs", "warned"), [("overall", True), (None, True), ("columns", False)]
)
def test_columns_of_different_units_are_pointed_out(scale_inputs, warned):
    X = load_wine().data
    settings = Training(epochs=1, batch_size=64, learning_rate=1e-5, scale_inputs=scale_inputs)
    model = SpectralContrastive(2, Noise(0.1 * X.std(axis=0)), encoder=SMALL, training=settings)
    found = model.fit(ArraySource(X)).findings([])
    units = [one for one in found if "different units" in one.title]
    assert bool(units) == warned
    if units:
        even = replace(model.fit(ArraySource(X)), unevenness=10.0)
        assert all("different units" not in one.title for one in even.findings([]))
        assert units[0].level == "warning"
        assert "Training(scale_inputs='columns')" in units[0].cure


def test_borders_of_images_are_no_other_unit():
    """A third of the pixels nearly constant, as around digits; constant columns are left out."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(300, 60)) * (rng.random((300, 60)) < np.repeat([0.003, 0.4], [20, 40]))
    assert unevenness(ArraySource(X, chunk_rows=70)) < 3
    assert unevenness(ArraySource(load_digits().data)) < 2
    table = load_breast_cancer().data + 1e4
    deviation = table.std(axis=0)
    assert unevenness(ArraySource(np.c_[table, np.ones((569, 40))], chunk_rows=100)) == (
        pytest.approx(deviation.max() / np.median(deviation), rel=1e-9)
    )


def test_parameters_of_the_training_can_be_set():
    est = TwoStageClassifier(SpectralContrastive(2, Noise(0.1), encoder=SMALL))
    assert "model__training__epochs" not in est.get_params()
    est.set_params(model__training__epochs=3, model__training__batch_size=32)
    assert est.model.training == Training(epochs=3, batch_size=32)
    assert est.get_params()["model__training__epochs"] == 3
    before = est.model.training
    again = clone(est).set_params(model__training__epochs=5, model__augment__scale=0.4)
    assert (again.model.training.epochs, again.model.augment) == (5, Noise(0.4))
    assert est.model.training is before
    assert before.epochs == 3
    with pytest.raises(ValueError, match=r"Invalid parameter 'epoch' for training=.*'epochs'"):
        est.set_params(model__training__epoch=3)
    with pytest.raises(ValueError, match=r"'width' for init=None: it has no parameters; set it as"):
        est.set_params(model__init__width=3)
    with pytest.raises(InputError, match="epochs is a whole number"):
        est.set_params(model__training__epochs=0)


@pytest.mark.filterwarnings("ignore:Scoring failed:UserWarning")
def test_grid_search_over_epochs_and_why_not_with_a_checkpoint(tmp_path):
    X, y = two_classes(90)
    model = SpectralContrastive(2, Noise(0.3), encoder=SMALL, training=BRIEF)
    grid = {"model__training__epochs": [1, 2]}
    est = NeighborsClassifier(model)
    assert GridSearchCV(est, grid, cv=2).fit(X, y).best_params_["model__training__epochs"] in (1, 2)
    est.set_params(model__training__checkpoint=tmp_path / "c")
    with pytest.raises(InputError, match="checkpoints do not go with cross-validation"):
        GridSearchCV(est, {"n_neighbors": [5]}, cv=2, error_score="raise").fit(X, y)


def test_a_log_gets_a_line_at_the_start_and_the_end(capsys, monkeypatch, tmp_path):
    X, _ = two_classes()
    settings = Training(epochs=9, batch_size=64, progress=True, checkpoint=tmp_path / "c")
    train(SMALL, X, Noise(0.1), rank=2, training=settings)
    shown = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in shown] == ["1/9", "9/9"]
    assert all(re.search(r"loss -?\d+\.\d{4}", line) for line in shown)
    assert "left" in shown[0]
    train(SMALL, X, Noise(0.1), rank=2, training=settings)
    again = capsys.readouterr().err
    assert again.startswith(f"{shown[1]}  finished before, read from the checkpoint")


def test_a_log_gets_a_line_every_few_seconds(capsys, monkeypatch):
    clock = iter(range(100, 200, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.progress(Training(epochs=10, progress=True), State(0, None, None, [])) as show:
        for epoch in range(1, 11):
            show(State(epoch, None, None, [-1.0] * epoch))
    shown = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in shown] == ["1/10", "4/10", "7/10", "10/10"]
    assert shown[1] == "epoch 4/10  loss -1.0000  12 s left"


# what results say


def adaptation(alone):
    target = {
        CONTRASTIVE: np.array([0.80, 0.81, 0.79]),
        ALONE: np.array(alone),
        RAW: np.array([0.60, 0.61, 0.62]),
    }
    draws = {name: np.zeros((3, 4), dtype=int) for name in target}
    return DomainAdaptation(np.arange(2), target, target, draws, np.ones(3, dtype=int), 50)


def test_the_source_alone_is_mentioned_where_it_is_better():
    better, equal = adaptation([0.90, 0.91, 0.89]), adaptation([0.90, 0.71, 0.81])
    assert "does better: 90.0 +- 0.6 (+10.0 +- 0.0 points)" in better.verdict()
    assert "on the source alone does no worse: 80.7" in equal.verdict()
    assert "alone" not in adaptation([0.70, 0.71, 0.69]).verdict()
    assert "+- standard errors over 3 draws" in better.verdict()
    assert "+- s.e." in str(better).splitlines()[0]


def test_an_interval_of_imbalance_is_called_one():
    even, tail = np.full((2, 2), 0.9), np.full((2, 2), 0.8)
    flat = Accuracies(even, tail + np.array([[0.05], [-0.05]]))
    found = ImbalanceGap(np.array([9, 1]), np.array([5, 5]), flat, Accuracies(even, tail))
    assert "+-" not in found.verdict()
    value, low, high = map(
        float,
        re.search(
            r"is (-?[\d.]+) points, 95 % interval (\S+) to (\S+) \(t, 1 degree of freedom\)",
            found.verdict(),
        ).groups(),
    )
    assert low == pytest.approx(value - 12.706 * 100 * found.advantage().se, abs=0.11)
    assert high == pytest.approx(value + 12.706 * 100 * found.advantage().se, abs=0.11)


@pytest.mark.parametrize(
    ("labels", "low", "high", "ahead", "claim"),
    [
        (14, 0, 29, 0.0, "learned stopped paying before about 29 labels, within the pilot of 120"),
        (0, 0, 0, 0.0, "learned does not pay at 10 labels or more"),
        (1430, 20, np.inf, 0.47, "stops paying, best guess about 1,400 labels; the odds that it"),
        (np.inf, 20, np.inf, 0.55, "best guess more than 5,000 labels; the odds"),
        (0, 0, np.inf, 0.45, "best guess fewer than 10 labels; the odds"),
    ],
)
def test_forecasts_give_their_best_guess(labels, low, high, ahead, claim):
    found = Crossing("learned", "raw", labels, low, high, 0.9, 10, 5000, ahead)
    assert claim in forecast_claim(found, 120)
