"""Accuracy and time of ``RiskLaw`` beside Imhof's integral by adaptive quadrature.

Run ``python benchmarks/risklaw.py``. The tail is about 1e-10 in each right-tail column; the
reference is a closed form or partial fractions at 400 digits, each weight occurring twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
from scipy import integrate

from foretell.inference import contour
from foretell.inference.risklaw import RiskLaw


def imhof_tail(law: RiskLaw, x: float) -> float:
    """P(X > x) = 1/2 + int_0^inf sin(theta(u)) / (u rho(u)) du / pi, Imhof (1961), eq. 3.2."""
    w, l, y = law.weights / law.std(), law.linear / law.std(), (x - law.offset) / law.std()

    def integrand(u: float) -> float:
        square = 1 + 4 * w * w * u * u
        theta = np.sum(0.5 * np.arctan(2 * w * u) - l * l * w * u**3 / square) - u * y
        log_rho = np.sum(0.25 * np.log(square) + 0.5 * l * l * u * u / square)
        return float(np.sin(theta) * np.exp(-log_rho) / u)

    value, _ = integrate.quad(integrand, 0, np.inf, epsabs=1e-12, limit=500)
    return 0.5 + value / np.pi


def paired_tail(weights: np.ndarray, x: float) -> float:
    """P(X > x) for x >= 0 when each weight occurs twice, by partial fractions."""
    with localcontext() as context:
        context.prec = 400
        exact = [Decimal(float(w)) for w in weights]
        total = Decimal(0)
        for i, a in enumerate(exact):
            if a > 0:
                product = Decimal(1)
                for b in exact[:i] + exact[i + 1 :]:
                    product *= a - b
                total += (-Decimal(float(x)) / (2 * a)).exp() * a ** (len(exact) - 1) / product
        return float(total)


def milliseconds(call: Callable[[], object], repeats: int = 7) -> float:
    """Best of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main() -> None:
    rng = np.random.default_rng(1)
    signs = {
        "3 weights": np.array([0.6, 0.3, 0.1]),
        "50 weights": rng.uniform(0.1, 1, 25),
        "1,000 weights": rng.uniform(0.1, 1, 500),
        "1 and -1": np.array([1.0, -1.0]),
        "50, both signs": rng.normal(size=25),
        "1,000, both signs": rng.normal(size=500),
        "1 to 1e-8": 10.0 ** -np.arange(9),
    }
    print(f"{'each weight twice':18} {'median':>20} {'tail 1e-10':>20} {'ms, one point':>16}")
    print(f"{'':18} {'RiskLaw':>10}{'Imhof':>10} {'RiskLaw':>10}{'Imhof':>10} "
          f"{'RiskLaw':>8}{'Imhof':>8}   (relative errors)")  # fmt: skip
    for name, half in signs.items():
        law = RiskLaw(np.repeat(half, 2))
        errors = []
        for x in (max(law.median(), 0.0), law.isf(1e-10)):
            truth = paired_tail(half, x)
            errors += [abs(law.sf(x) / truth - 1), abs(imhof_tail(law, x) / truth - 1)]
        x = law.isf(0.05)
        ours, peer = milliseconds(lambda: law.sf(x)), milliseconds(lambda: imhof_tail(law, x), 1)  # noqa: B023
        print(f"{name:18} {errors[0]:10.0e}{errors[1]:10.0e} {errors[2]:10.0e}{errors[3]:10.0e} "
              f"{ours:8.2f}{peer:8.1f}")  # fmt: skip

    print(f"\n{'time in ms':24} {'cdf, 100 points':>16} {'ppf, 3':>8} {'isf, 3 to 1e-10':>16}")
    for n in (3, 50, 1000):
        for name, w in (("one sign", rng.uniform(0.1, 1, n)), ("both signs", rng.normal(size=n))):
            law = RiskLaw(w, 0.3 * rng.normal(size=n))
            x = law.mean() + law.std() * np.linspace(-4, 7, 100)
            times = [
                milliseconds(lambda: law.cdf(x)),  # noqa: B023
                milliseconds(lambda: law.ppf([0.05, 0.5, 0.95])),  # noqa: B023
                milliseconds(lambda: law.isf([1e-5, 1e-8, 1e-10])),  # noqa: B023
            ]
            print(f"{n:6d}, {name:16} {times[0]:16.1f} {times[1]:8.1f} {times[2]:16.1f}")

    print("\nbeyond 1,000 weights: largest relative error for tails 0.5 to 1e-10, both sides")
    tails = np.array([1e-10, 1e-6, 1e-3, 0.05, 0.5])
    large = {
        "uniform, 1,500": (rng.uniform(0.1, 1, 1500), None),
        "both signs, 1,500": (rng.normal(size=1500), rng.normal(size=1500)),
        "1/k, 20,000": (1 / np.arange(1, 20001.0), None),
        "linear, 3,000": (0.01 * rng.normal(size=3000), rng.normal(size=3000)),
    }
    limit = contour.EXACT_LIMIT
    for name, (w, l) in large.items():
        law = RiskLaw(w, l)
        contour.EXACT_LIMIT = w.size
        exact = RiskLaw(w, l)
        contour.EXACT_LIMIT = limit
        error = max(
            np.abs(law.sf(exact.isf(tails)) / tails - 1).max(),
            np.abs(law.cdf(exact.ppf(tails)) / tails - 1).max(),
        )
        print(f"{name:24} {error:8.0e}  {milliseconds(lambda: RiskLaw(w, l)):6.1f} ms to build")  # noqa: B023


if __name__ == "__main__":
    main()
