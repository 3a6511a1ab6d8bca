"""Normal equations of scaling, group by group."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit


@jit
def accumulate_normal(starts, order, indptr, indices, jacobian, offset, weight, scale, value, normal, gradient):
    """Add every group's share to the Gauss-Newton equations with its mean eliminated.

    For residuals sqrt(w) (I - g M), M the group's best mean, the projection of the
    Jacobian that leaves M free gives, with d = M dg/dp, u = w g and W = sum(w g^2):
    N += sum w d d^T - (sum u d)(sum u d)^T / W,  b += sum w d (I - g M).

    Parameters
    ----------
    starts, order : int64, groups and their rows (`Segments`)
    indptr, indices, jacobian : CSR of dg/dp by row, columns ascending (int64, int32, float64)
    offset : (n,) int64, first parameter of the row's experiment
    weight, scale, value : (n,) float64
    normal, gradient : (p, p), (p,) float64, added to; only the lower triangle of normal

    Returns
    -------
    float
        sum w (I - g M)^2
    """
    total = np.zeros(len(gradient))
    touched = np.empty(len(gradient), dtype=np.int64)
    seen = np.zeros(len(gradient), dtype=np.bool_)
    objective = 0.0
    for k in range(len(starts) - 1):
        below, above = 0.0, 0.0
        for m in range(starts[k], starts[k + 1]):
            i = order[m]
            below += weight[i] * scale[i] ** 2
            above += weight[i] * scale[i] * value[i]
        if below <= 0.0:
            continue
        mean, n_touched = above / below, 0
        for m in range(starts[k], starts[k + 1]):
            i = order[m]
            w, residual = weight[i], value[i] - scale[i] * mean
            objective += w * residual**2
            for p in range(indptr[i], indptr[i + 1]):
                a = offset[i] + indices[p]
                d = mean * jacobian[p]
                gradient[a] += w * d * residual
                if not seen[a]:
                    seen[a] = True
                    touched[n_touched] = a
                    n_touched += 1
                total[a] += w * scale[i] * d
                for q in range(indptr[i], p + 1):
                    normal[a, offset[i] + indices[q]] += w * d * mean * jacobian[q]
        for s in range(n_touched):
            a = touched[s]
            for t in range(n_touched):
                if touched[t] <= a:
                    normal[a, touched[t]] -= total[a] * total[touched[t]] / below
        for s in range(n_touched):
            total[touched[s]] = 0.0
            seen[touched[s]] = False
    return objective
