"""What ``foretell graph`` says of a graph, and the numbers behind it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

LOOKED_AT = 33  # eigenvalues from which a number of features is read
MOST_LABELS = 1000  # of a head whose accuracy is told


class Sample(NamedTuple):
    """A graph, labels of its vertices and alpha where known, how it came about, what is missing."""

    graph: Any
    labels: Any
    alpha: float | None
    how: str
    missing: str = ""


def told(sample: Sample, k: int, parts: int | None, y: Any) -> tuple[list[str], dict[str, Any]]:
    """Lines to print, and numbers by name; y are the classes of the rows of a table, or None."""
    graph = sample.graph
    values = graph.spectrum(min(max(LOOKED_AT, k + 1), graph.n - 1))
    numbers: dict[str, Any] = {
        "vertices": graph.n,
        "components": graph.n_components,
        "eigenvalues": values.tolist(),
        "rank": k,
        "minimal_loss": graph.minimal_loss(k),
    }
    lines = [
        sample.how,
        f"Connected components: {graph.n_components:,}",
        f"Features: {k} (eigenvalue {k} is {values[k - 1]:.4f}"
        + (f", the next one {values[k]:.4f})" if k < len(values) else ")"),
    ]
    if graph.n_components > k:
        lines.append(
            f"The graph is in {graph.n_components:,} pieces, more than {k} features can tell "
            "apart: the augmentation is too weak to tie rows together; make it stronger, or raise "
            "--rank"
        )
    if parts is not None:
        partition = graph.sparsest_partition(parts)
        lines += ["", f"Sparsest partition found: {partition}"]
        numbers["sparsest_partition"] = {"upper": partition.upper, "lower": partition.lower}
    if sample.alpha is not None:
        lines += ["", f"Augmentations that change the class (alpha): {sample.alpha:.4g}"]
        numbers["alpha"] = sample.alpha
    if sample.missing:
        lines.append(f"Nothing more is said of classes in the graph: {sample.missing}.")
    if sample.labels is not None:
        leaving = graph.conductance(sample.labels)
        lines.append(f"Classes as clusters: {leaving}")
        numbers["conductance"] = leaving.largest
    if graph.n_components <= k:
        _add_heads(sample, k, y, lines, numbers)
    return lines, numbers


def _add_heads(sample: Sample, k: int, y: Any, lines: list[str], numbers: dict[str, Any]) -> None:
    """Linear heads on the embedding: the best one with its bound, and one fitted to the rows."""
    if sample.labels is not None:
        probe = sample.graph.probe(sample.labels, k)
        lines += ["", str(probe)]
        numbers |= {
            "disagreement": probe.bound.disagreement,
            "probe_error": probe.error,
            "probe_bound": probe.bound.error,
        }
    found = None if y is None else _row_accuracy(sample.graph, k, y)
    if found is not None:
        lines += ["", f"A linear head fitted to labeled rows on their mean features: {found}"]
        numbers["row_accuracy"] = {"value": found.value, "low": found.low, "high": found.high}


def _row_accuracy(graph: Any, k: int, y: Any) -> Any:
    """Accuracy on rows by leave-one-out, at most 1,000 of them; None if classes are too rare."""
    import numpy as np

    from foretell.data.inputs import is_missing
    from foretell.estimators import probe_accuracy

    labeled = np.flatnonzero(~is_missing(y))
    if len(labeled) > MOST_LABELS:
        labeled = np.random.default_rng(0).permutation(labeled)[:MOST_LABELS]
    classes = np.array([str(v) for v in y[labeled].tolist()], dtype=object)
    counts = np.unique(classes.astype(str), return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        return None
    features = graph.source.probabilities @ graph.embedding(k)
    return probe_accuracy(np.asarray(features)[labeled], classes)


def finite(value: Any) -> Any:
    """Numbers that JSON has; infinite ones as null."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) or hasattr(value, "dtype"):
        number = float(value)
        return number if math.isfinite(number) else None
    return value
