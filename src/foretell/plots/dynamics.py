"""Charts of the gradient flow of symmetric low-rank factorization.

Each gives a Vega-Lite specification, data included, and writes it to ``path`` if there is one:
``.svg``, ``.png``, ``.html`` or ``.json``.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from foretell._types import Array
from foretell.errors import InputError
from foretell.plots.charts import LIMIT, SIMULATION, layered, quantity, rows
from foretell.theory.factorization.cascade import schur_size
from foretell.theory.factorization.flow import FactorizationFlow
from foretell.theory.factorization.rates import schur_envelope
from foretell.theory.factorization.target import Target

Path = str | os.PathLike[str] | None
GREY = "#777777"
MOST_CURVES = 30  # singular values drawn
PORTRAIT_STARTS = 24
PORTRAIT_TIMES = 120


def plot_trajectories(flow: Any, times: Any, *, path: Path = None) -> dict[str, Any]:
    """Squared singular values of X over time, the eigenvalues of the target dashed.

    They rise one after the other from a small start; grey lines are the times at which each
    direction is half learned.

    Parameters
    ----------
    flow
        A :class:`~foretell.theory.FactorizationFlow`.
    times
        Where to draw, shape (T,).
    path
        The file to write.

    Examples
    --------
    >>> from foretell.theory import FactorizationFlow
    >>> flow = FactorizationFlow(np.diag([3.0, 1.0, 0.0]), 0.01 * np.eye(3)[:, :2] + 0.001)
    >>> chart = plot_trajectories(flow, np.linspace(0.0, 8.0, 50))
    """
    times = _checked(times)
    squares = flow.singular_values(times)[:, :MOST_CURVES] ** 2
    curves = [
        record | {"of": k + 1}
        for k, values in enumerate(squares.T)
        for record in rows(t=times, value=values)
    ]
    learned = flow.saddle_times()
    within = [float(t) for t in learned.times if times.min() < t < times.max()]
    levels = [float(v) for v in flow.target.eigenvalues[: squares.shape[1]] if v > 0]
    x, y = quantity("t", "time t"), quantity("value", "squared singular values of X")
    layers = [
        _rules("value", levels, {"y": y}, LIMIT),
        _rules("t", within, {"x": x}, GREY),
        {
            "data": {"values": curves},
            "mark": {"type": "line", "color": SIMULATION, "strokeWidth": 2},
            "encoding": {"x": x, "y": y, "detail": {"field": "of", "type": "nominal"}},
        },
    ]
    subtitle = "dashed: eigenvalues of the target; grey: when a direction is half learned"
    if flow.rank > MOST_CURVES:
        subtitle += f"; the {MOST_CURVES} largest of {flow.rank}"
    return layered("Directions are learned one after the other", subtitle, layers, path)


def plot_schur(flow: Any, times: Any, *, path: Path = None) -> dict[str, Any]:
    """Size of the Schur complement S, of W and of P1 less its limit; S beside its envelope.

    On logarithmic axes: exponential modes fall like a cliff, the mode of surplus columns as a
    line of slope -1.

    Parameters
    ----------
    flow
        A flow whose start reaches the leading eigenvectors.
    times
        Where to draw, positive, shape (T,).
    path
        The file to write.
    """
    times = _checked(times)
    found, begun = flow.coordinates(times), flow.coordinates(0.0)
    missing = found.leading @ found.deviation * found.growth  # no difference of close numbers
    series = {
        "S": schur_size(found.schur_factor),
        "envelope of S": schur_envelope(begun.decay, begun.schur_factor[0], times),
        "W": np.linalg.norm(found.tilt, axis=(1, 2)),
        "P1 less its limit": np.linalg.norm(missing, axis=(1, 2)),
    }
    floor = 1e-16
    curves = [
        record | {"of": name}
        for name, values in series.items()
        for record in rows(t=times, size=values)
        if record["t"] > 0 and record["size"] > floor
    ]
    logarithmic = {"scale": {"type": "log", "nice": False}}
    layer = {
        "data": {"values": curves},
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {
            "x": quantity("t", "time t") | logarithmic,
            "y": quantity("size", "size") | logarithmic,
            "color": {
                "field": "of", "type": "nominal", "title": None,
                "scale": {
                    "domain": list(series), "range": [SIMULATION, LIMIT, "#3c8d5a", "#8a5fae"]
                },
            },
            "strokeDash": {
                "condition": {"test": "datum.of == 'envelope of S'", "value": [5, 4]},
                "value": [1, 0],
            },
        },
    }  # fmt: skip
    subtitle = "spectral norm of S; Frobenius norms of W and of P1 less its limit"
    return layered("The cascade", subtitle, [layer], path)


def plot_portrait(
    target: Any, rank: int, *, random_state: int = 0, path: Path = None
) -> dict[str, Any]:
    r"""Phase portrait in the two leading directions: occupancies :math:`v_i^\top XX^\top v_i`.

    Trajectories from random starts of every size; equilibria as points, filled where stable.

    Parameters
    ----------
    target
        Symmetric matrix (d, d) with at least two eigenvalues, or a ``Target``.
    rank
        Number k of columns of X.
    random_state
        Seed of the starts.
    path
        The file to write.
    """
    rng = np.random.default_rng(random_state)
    found = Target.of(target)
    if len(found.eigenvalues) < 2:
        raise InputError("a portrait has two directions; the target has one eigenvalue")
    flow = FactorizationFlow(found, np.eye(found.d)[:, :rank])
    leading = found.vectors[:, :2]
    largest = float(np.abs(found.eigenvalues).max())
    times = np.concatenate([[0.0], np.geomspace(1e-3, 30.0, PORTRAIT_TIMES)]) / largest
    curves: list[dict[str, Any]] = []
    for number in range(PORTRAIT_STARTS):
        size = np.sqrt(largest / rank) * 10.0 ** rng.uniform(-2.5, 0.2)
        X0 = size * rng.normal(size=(found.d, rank)) / np.sqrt(2)
        shares = (np.swapaxes(FactorizationFlow(found, X0).factor(times), 1, 2) @ leading) ** 2
        a, b = shares.sum(axis=1).T
        curves += [r | {"of": number, "order": k} for k, r in enumerate(rows(a=a, b=b))]
    places: dict[tuple[float, float], str] = {}
    for e in flow.equilibria(max_count=64):  # by rising loss: the best of those that look alike
        a, b = ((e.factor.T @ leading) ** 2).sum(axis=0)
        places.setdefault((round(float(a), 9), round(float(b), 9)), e.kind)
    points = [{"a": a, "b": b, "kind": kind} for (a, b), kind in places.items()]
    x, y = quantity("a", "occupancy of direction 1"), quantity("b", "occupancy of direction 2")
    layers = [
        {
            "data": {"values": curves},
            "mark": {"type": "line", "color": SIMULATION, "strokeWidth": 1, "opacity": 0.6},
            "encoding": {
                "x": x, "y": y, "order": {"field": "order"},
                "detail": {"field": "of", "type": "nominal"},
            },
        },
        {
            "data": {"values": points},
            "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
            "encoding": {
                "x": x, "y": y,
                "color": {
                    "field": "kind", "type": "nominal", "title": None,
                    "scale": {
                        "domain": ["global minimum", "strict saddle", "local maximum"],
                        "range": ["#2e7d32", "#c62828", "#6d4c41"],
                    },
                },
            },
        },
    ]  # fmt: skip
    return layered(f"Phase portrait, rank {rank}", "", layers, path)


def plot_landscape(flow: Any, *, max_count: int = 200, path: Path = None) -> dict[str, Any]:
    """Loss of the equilibria against the number of directions in which they are left.

    Parameters
    ----------
    flow
        Its target and number of columns count, not its start.
    max_count
        Equilibria drawn, those of least loss first.
    path
        The file to write.
    """
    points = [
        {
            "loss": e.loss,
            "escapes": len(e.escape_rates),
            "kind": e.kind,
            "learned": ", ".join(f"{v:.3g}" for v in e.eigenvalues) or "nothing",
            "rate": float(e.escape_rates.max(initial=0.0)),
        }
        for e in flow.equilibria(max_count=max_count)
    ]
    layer = {
        "data": {"values": points},
        "mark": {"type": "point", "filled": True, "size": 70},
        "encoding": {
            "x": quantity("escapes", "directions of escape") | {"scale": {"padding": 12}},
            "y": quantity("loss", "loss") | {"scale": {"zero": False, "padding": 12}},
            "color": {
                "field": "rate", "type": "quantitative", "title": "fastest escape",
                "scale": {"scheme": "blues"},
            },
            "shape": {"field": "kind", "type": "nominal", "title": None},
            "tooltip": [{"field": name} for name in ("learned", "loss", "escapes", "rate")],
        },
    }  # fmt: skip
    return layered(
        "Equilibria", "loss, directions of escape and the fastest of their rates", [layer], path
    )


def _checked(times: Any) -> Array:
    found = np.asarray(times, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2:
        raise InputError(f"times to draw have shape (T,), at least two; found {found.shape}")
    return found


def _rules(field: str, values: list[float], encoding: dict[str, Any], color: str) -> dict[str, Any]:
    return {
        "data": {"values": [{field: value} for value in values]},
        "mark": {"type": "rule", "strokeDash": [5, 4], "color": color},
        "encoding": encoding,
    }
