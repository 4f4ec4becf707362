"""How much each kind of network has to say, from what it said of songs it had not heard.

References
----------
.. [1] Wolpert (1992), Stacked generalization, Neural Networks 5.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from songbag.answers.confidence import fit_temperature
from songbag.answers.metrics import Floats

_STEPS = 20  # shares tried: 0, 1/20, ... 1


def branch_weights(
    logits: Sequence[Floats], y: NDArray[Any], multilabel: bool = False
) -> list[float]:
    """Return what to multiply each branch's logits with before adding them.

    Stacking [1]_ with one number a branch: each branch is brought to its own best
    temperature, then branches are joined one by one, each time with the share that gives
    the least negative log-likelihood. A share is one of twenty-one, because a few hundred
    songs cannot tell finer ones apart.

    Parameters
    ----------
    logits : sequence of (n, classes)
        Pooled, of songs not trained on; one table a branch.
    y : (n,) integers, or (n, classes) bool for multilabel
    """
    if len(logits) == 1:
        return [1.0]
    inverse = [1 / fit_temperature(table, y, multilabel).temperature for table in logits]
    joined, weights = inverse[0] * logits[0], [inverse[0]]
    for scale, table in zip(inverse[1:], logits[1:], strict=True):
        shares = np.arange(_STEPS + 1) / _STEPS
        losses = [
            fit_temperature((1 - share) * joined + share * scale * table, y, multilabel).nll_after
            for share in shares
        ]
        share = float(shares[int(np.argmin(losses))])
        joined = (1 - share) * joined + share * scale * table
        weights = [(1 - share) * weight for weight in weights] + [share * scale]
    return weights
