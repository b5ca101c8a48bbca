"""Accuracy and time of random-matrix spectra beside other packages.

Run ``python -P benchmarks/spectra.py density``; -P because a neighbor is called coverage. Install
freealg 0.12.2 and rmtool 1.0.0 for the comparison; what is missing is left out. The reference is a
root at 40 digits (mpmath).
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable

import mpmath
import numpy as np

from foretell.theory.spectra.marchenko_pastur import MarchenkoPastur, marchenko_pastur

ATOMS, WEIGHTS, ASPECT = [1.0, 3.0, 10.0], [0.2, 0.4, 0.4], 0.5


def milliseconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Best CPU time of several runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def reference(law: MarchenkoPastur, x: np.ndarray) -> np.ndarray:
    """Density at 40 digits."""
    out = []
    for place, start in zip(x, law.companion(x), strict=True):
        with mpmath.workdps(40):
            total = sum(mpmath.mpf(float(h)) for h in law.weights)
            pairs = [
                (mpmath.mpf(ASPECT) * mpmath.mpf(float(h)) / total, mpmath.mpf(float(t)))
                for h, t in zip(law.weights, law.eigenvalues, strict=True)
            ]

            def miss(w, pairs=pairs, place=place):  # type: ignore[no-untyped-def]
                return w * (1 + sum(c * t / (w - t) for c, t in pairs)) - mpmath.mpf(float(place))

            w = mpmath.findroot(miss, mpmath.mpmathify(complex(start)), tol=1e-70)
            out.append(float(w.imag / (mpmath.pi * mpmath.mpf(ASPECT) * abs(w) ** 2)))
    return np.array(out)


def freealg_density(x: np.ndarray) -> np.ndarray:
    """freealg's deformed law, next to the real axis."""
    from freealg.distributions import DeformedMarchenkoPastur

    law = DeformedMarchenkoPastur(t=ATOMS, w=WEIGHTS, c=ASPECT)
    return np.asarray(law.density(x, eta=1e-9))


def rmtool_density(x: np.ndarray) -> np.ndarray:
    """rmtool: all roots of the polynomial in (m, z) at each point."""
    import rmtool
    import sympy

    m, z = rmtool.m, rmtool.z
    v = sympy.nsimplify(ASPECT) * m - (1 - sympy.nsimplify(ASPECT)) / z
    equation = (
        1
        + z * v
        - ASPECT
        * sum(
            h * t * v / (1 + t * v)
            for h, t in zip(map(sympy.nsimplify, WEIGHTS), ATOMS, strict=True)
        )
    )
    numerator = sympy.numer(sympy.together(sympy.nsimplify(equation)))
    found = np.asarray(rmtool.Lmz2pdf(sympy.expand(numerator), x).density)
    return found if found.ndim == 1 else found.max(axis=1)


def density() -> None:
    """Three atoms against the peers, and many atoms."""
    edges = marchenko_pastur(ATOMS, ASPECT, weights=WEIGHTS).edges
    x = np.linspace(edges[0, 0], edges[-1, 1], 1002)[1:-1]
    law = marchenko_pastur(ATOMS, ASPECT, weights=WEIGHTS)
    exact = reference(law, x[::20])
    ours = milliseconds(lambda: marchenko_pastur(ATOMS, ASPECT, weights=WEIGHTS).pdf(x))
    error = np.abs(law.pdf(x[::20]) / exact - 1).max()
    print(f"3 atoms, 1000 points   foretell {ours:8.2f} ms   relative error {error:.1e}")
    for name, call in (("freealg", freealg_density), ("rmtool", rmtool_density)):
        if importlib.util.find_spec(name) is None:
            print(f"                       {name} is not installed")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = np.abs(np.ravel(call(x))[::20] / exact - 1).max()
            taken = milliseconds(lambda call=call: call(x))  # type: ignore[misc]
        print(f"{'':23}{name:8} {taken:8.2f} ms   relative error {error:.1e}, {taken / ours:.0f}x")
    angle = (np.arange(500) + 0.5) * np.pi / 500
    for gamma in (0.2, 0.5, 1.0, 2.0):
        tau = 0.19 / (1.81 - 1.8 * np.cos(angle))
        x = np.linspace(0.02, 30, 1000)
        taken = milliseconds(lambda g=gamma, x=x, t=tau: marchenko_pastur(t, g).pdf(x))  # type: ignore[misc]
        print(f"AR(1), 500 atoms, aspect ratio {gamma:.1f}, 1000 points   {taken:8.1f} ms")
    tau = np.exp(np.random.default_rng(0).normal(size=10**6))
    build = milliseconds(lambda: marchenko_pastur(tau, 0.5), 1)
    law = marchenko_pastur(tau, 0.5)
    x = np.linspace(*law.edges[[0, -1], [0, 1]], 400)
    print(
        f"lognormal, 10^6 eigenvalues: {len(law.weights)} atoms, {len(law.edges)} intervals, "
        f"edges {build:.0f} ms, 400 points {milliseconds(lambda: law.pdf(x), 1):.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["density"])
    parser.parse_args()
    density()


if __name__ == "__main__":
    main()
