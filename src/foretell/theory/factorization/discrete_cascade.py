r"""The cascade of the factorization flow in discrete time: what gradient descent keeps of it.

A step of gradient descent maps :math:`P = X X^\top` to :math:`N P N`,
:math:`N = I + \eta (M - P)`. In the eigenbasis :math:`M = \mathrm{diag}(\Lambda_1, -\Lambda_2)`,
with :math:`W = P_1^{-1} P_0`, :math:`S = P_2 - P_0^\top P_1^{-1} P_0` and

.. math::
    C &= I + \eta (\Lambda_1 - P_1 (I + W W^\top)), \quad B = I - \eta (\Lambda_2 + S), \\
    D &= -\eta P_1 W, \qquad Z = \eta (-\Lambda_2 W^\top - S W^\top - W^\top \Lambda_1),

the congruence by the unit triangular matrix of W gives exactly

.. math::
    P_1^+ &= C P_1 C^\top + D S D^\top, \\
    (W^+ - W)^\top &= (Z P_1 C^\top + B S D^\top) (P_1^+)^{-1}, \\
    S^+ &= Z P_1 Z^\top + B S B^\top
           - (Z P_1 C^\top + B S D^\top) (P_1^+)^{-1} (Z P_1 C^\top + B S D^\top)^\top.

Z and D are of order eta and vanish with W. Hence, of the three equations of the flow:

- S: :math:`S^+ = B S B^\top + O(\eta^2 \|W\|^2)`. It is autonomous to first order in eta, and
  exactly so on the invariant set W = 0. S = 0 and (while N is invertible) the rank of S are
  invariant. With :math:`\Lambda_2 = 0` and W = 0, :math:`1/s_+ = 1/(s (1 - \eta s)^2) = 1/s +
  2\eta + 3\eta^2 s + \dots`: the 1/(2 eta j) of the flow with a logarithmic correction.
- W: for S = 0, :math:`(W^+)^\top = W^\top - \eta (\Lambda_2 W^\top + W^\top \Lambda_1) C^{-1}`: it
  sees P1 through C, at second order in eta. W = 0 is invariant.
- P1: sees S at second order in eta, through :math:`\eta^2 P_1 W S W^\top P_1`.

Derived here; the flow: Mohammadi, Tinati, Tu, Soltanolkotabi & Jovanovic (2024), arXiv 2411.15972.
"""

from __future__ import annotations

import numpy as np

from foretell._types import Array


def cascade_step(
    leading: Array, tilt: Array, schur: Array, growth: Array, decay: Array, step: float
) -> tuple[Array, Array, Array]:
    r"""P1, W, S after one step of gradient descent; exact.

    Parameters
    ----------
    leading, tilt, schur
        :math:`P_1` (s, s), W (s, q - s), S (q - s, q - s).
    growth, decay
        Diagonals of :math:`\Lambda_1`, shape (s,), and :math:`\Lambda_2`, shape (q - s,).
    step
        :math:`\eta`.

    Examples
    --------
    >>> P1, W, S = (np.array([[x]]) for x in (1.0, 0.0, 0.5))
    >>> [x.item() for x in cascade_step(P1, W, S, np.array([1.0]), np.zeros(1), 0.1)]
    [1.0, 0.0, 0.45125]
    """
    C = np.diag(1.0 + step * growth) - step * leading @ (np.eye(len(growth)) + tilt @ tilt.T)
    B = np.diag(1.0 - step * decay) - step * schur
    D = -step * leading @ tilt
    Z = -step * (decay[:, None] * tilt.T + schur @ tilt.T + tilt.T * growth)
    after = C @ leading @ C.T + D @ schur @ D.T
    cross = Z @ leading @ C.T + B @ schur @ D.T
    change = np.linalg.solve(after, cross.T)
    return after, tilt + change, Z @ leading @ Z.T + B @ schur @ B.T - cross @ change
