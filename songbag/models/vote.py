"""The majority vote as a differentiable pooling.

If every window casts one vote, for class c with probability p_tc and independently of the
others, the song's answer is the class with the most votes. For two classes the number of
votes is Poisson-binomial, and the probability of a majority (ties count half) has a
gradient everywhere.

How it is computed. The lead D = votes for a minus votes for b is a sum of independent
steps of +1, 0, -1. Its distribution is the inverse transform of its characteristic function, a
product over windows, at M frequencies ([1]_ eq. 6). A common factor on the odds, exp(s) for a
and exp(-s) for b, first moves the mean of the lead to zero, as in a saddlepoint approximation
([2]_), and is undone exactly afterwards: so probabilities of 1e-300 keep their relative
precision. The factor is a constant for the gradient, because any s gives the same value.
The tilted lead has a variance of at most T, so M = 20 sqrt(T) frequencies cover ten
deviations on either side; what lies beyond is below 1e-21 ([3]_).

What it assumes. Windows are taken as independent. Neighbouring windows of a song are not, so
the vote is overconfident on long songs: at p = .55 in every window the majority is right with
.69 at 23 windows, .86 at 119 and .996 at 719. Its probabilities need calibration.

More than two classes. The probability of a plurality has no cheap exact form. It is approximated
by *pairwise coupling of duels* ([4]_ eq. 7): the exact probability r_ab that a gets more votes
than b, given that they do not tie, for every pair, combined as P_a = 1 / (1 + sum_b r_ba / r_ab).
It equals p for one window, and the exact vote for two classes.

References
----------
.. [1] Hong (2013), On computing the distribution function for the Poisson binomial
   distribution, Computational Statistics and Data Analysis 59.
.. [2] Daniels (1954), Saddlepoint approximations in statistics, Annals of Mathematical
   Statistics 25.
.. [3] Hoeffding (1963), Probability inequalities for sums of bounded random variables, JASA 58.
.. [4] Price, Knerr, Personnaz, Dreyfus (1994), Pairwise neural network classifiers with
   probabilistic outputs, NIPS.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_NEVER = -1e30  # log probability of a step that cannot happen; finite, so gradients are too
_LEAST = 1e-30  # keeps logarithms finite and the angle of a factor of zero defined


class _Leads(NamedTuple):
    """The characteristic functions of the leads of many duels, tilted to a mean of zero."""

    behind: Tensor  # (songs, pairs): 1 where the first class of the pair is behind, else -1
    tilt: Tensor  # (songs, pairs, 1): by how much the log odds of the side behind were raised
    masses: Tensor  # (songs, pairs, windows): log factors that undo the tilt
    idle: Tensor  # (songs, pairs, windows): tilted log probabilities of no step
    moduli: Tensor  # (songs, pairs, frequencies, windows): logarithm of every window's factor,
    phases: Tensor  # and its angle
    angles: Tensor  # (frequencies,): in radians
    shares: Tensor  # (frequencies,): what each counts in a sum over all of them

    def factors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what is summed over windows, the last axis."""
        return self.moduli, self.phases, self.masses, self.idle


def vote(logits: Tensor, scores: Tensor | None = None, multilabel: bool = False) -> Tensor:
    """Log probability that a class wins the vote; for multilabel the log odds of a majority.

    A window has one vote, however confident it is; with multilabel each label is voted on alone.

    Examples
    --------
    >>> p = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]])
    >>> vote(p.log()).softmax(dim=-1)  # two votes of three, or all three
    tensor([[0.6240, 0.3760]])
    """
    leads = _leads(*_steps(logits, multilabel))
    products = (part.sum(dim=-1, keepdim=True) for part in leads.factors())
    odds = _log_odds(leads, *products)
    return _joined(odds, logits.shape[-1], multilabel).squeeze(1).to(logits.dtype)


def vote_left_out(logits: Tensor, scores: Tensor | None = None, multilabel: bool = False) -> Tensor:
    """Return song logits without each window, (songs, windows, classes), of two windows or more.

    Leaving a window out costs one division: its factor is taken out of the product.
    """
    leads = _leads(*_steps(logits, multilabel))
    products = (part.sum(dim=-1, keepdim=True) - part for part in leads.factors())
    return _joined(_log_odds(leads, *products), logits.shape[-1], multilabel).to(logits.dtype)


def _pairs(classes: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(classes) for b in range(a + 1, classes)]


def _steps(logits: Tensor, multilabel: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return log probabilities (songs, pairs, windows) of a step up, none, down of each lead."""
    exact = logits.to(torch.float64).transpose(1, 2)
    classes = logits.shape[-1]
    if multilabel:
        up, down = F.logsigmoid(exact), F.logsigmoid(-exact)
        return up, torch.full_like(up, _NEVER), down
    share = exact.log_softmax(dim=1)
    first, second = (list(side) for side in zip(*_pairs(classes), strict=True))
    up, down = share[:, first], share[:, second]
    if classes == 2:
        return up, torch.full_like(up, _NEVER), down
    others = [[k for k in range(classes) if k not in pair] for pair in _pairs(classes)]
    return up, share[:, others].logsumexp(dim=2), down


def _leads(up: Tensor, none: Tensor, down: Tensor) -> _Leads:
    tilt = _tilt(up, none, down)
    # From the side that is behind: its odds are raised, and its probability is the small one.
    ahead = tilt < 0
    up, down = torch.where(ahead, down, up), torch.where(ahead, up, down)
    tilt = tilt.abs()
    steps = torch.stack([up + tilt, none, down - tilt])
    masses = steps.logsumexp(dim=0)
    rise, stay, fall = (steps - masses).exp()
    windows = up.shape[-1]
    reach = torch.sym_min(windows, windows // 8 + 200)  # type: ignore[no-untyped-call]  # at least 10 sqrt(windows), or all
    order = torch.arange(reach + 1, dtype=torch.float64, device=up.device)
    angles = order * (2 * math.pi / (2 * reach + 1))
    real = stay.unsqueeze(-2) + (rise + fall).unsqueeze(-2) * angles.cos().unsqueeze(-1) + _LEAST
    imaginary = (rise - fall).unsqueeze(-2) * angles.sin().unsqueeze(-1)
    return _Leads(
        torch.where(ahead, -1.0, 1.0).squeeze(-1).to(torch.float64),
        tilt,
        masses,
        none - masses,
        (real * real + imaginary * imaginary).log() / 2,
        _angle(imaginary, real),
        angles,
        torch.where(order == 0, 1.0, 2.0).to(torch.float64) / (2 * reach + 1),
    )


def _angle(imaginary: Tensor, real: Tensor) -> Tensor:
    """Return the angle of complex numbers, in float64.

    ONNX Runtime has an arc tangent in single precision only. In a graph its result is refined:
    the rest after rotating back by it is so small that it equals its tangent.
    """
    if not torch.compiler.is_exporting():
        return torch.atan2(imaginary, real)
    near = torch.atan2(imaginary.float(), real.float()).to(torch.float64)
    cosine, sine = near.cos(), near.sin()
    return near + (imaginary * cosine - real * sine) / (real * cosine + imaginary * sine)


def _tilt(up: Tensor, none: Tensor, down: Tensor) -> Tensor:
    """Return s (songs, pairs, 1) that moves the mean lead to about zero; no gradient.

    The mean rises with s and crosses zero between the windows' own balances. 32 points that
    divide this interval are tried at once; four rounds narrow it a millionfold.
    """
    up, none, down = (part.detach().unsqueeze(-2) for part in (up, none, down))
    balance = (down - up).squeeze(-2) / 2
    low, high = balance.amin(dim=-1, keepdim=True), balance.amax(dim=-1, keepdim=True)
    points = torch.arange(1, 33, dtype=torch.float64, device=up.device) / 33
    for _ in range(4):
        shift = (low + (high - low) * points).unsqueeze(-1)  # (songs, pairs, points, 1)
        rise, fall = up + shift, down - shift
        steps = torch.stack([rise, none.expand_as(rise), fall]).softmax(dim=0)
        behind = (steps[0] - steps[2]).sum(dim=-1) < 0
        step = (high - low) / 33
        low = low + step * behind.to(torch.float64).sum(dim=-1, keepdim=True)
        high = low + step
    return (low + high) / 2


def _log_odds(
    leads: _Leads, moduli: Tensor, phases: Tensor, masses: Tensor, idle: Tensor
) -> Tensor:
    """Return log odds (songs, pairs, n) of the first class of each pair.

    ``moduli`` to ``idle`` are products over the windows of n songs, as logarithms and angles. A
    tie counts half for each class. Outcomes in which no window votes for either class are left
    out: so the vote of one window equals its probabilities.
    """
    leading = torch.arange(1, leads.angles.shape[0], dtype=torch.float64, device=moduli.device)
    # sum over leads d > 0 of exp(-tilt d) P(lead = d), as weights of the frequencies
    fading = (-leads.tilt * leading).exp().unsqueeze(-1)  # (songs, pairs, leads, 1)
    turns, shares = leads.angles.unsqueeze(-1) * leading, leads.shares.unsqueeze(-1)
    in_phase, out_of_phase = (turns.cos() @ fading) * shares, (turns.sin() @ fading) * shares
    real, imaginary = moduli.exp() * phases.cos(), moduli.exp() * phases.sin()
    ahead = (real * in_phase + imaginary * out_of_phase).sum(dim=-2)
    tie = (real * shares).sum(dim=-2) - idle.exp()
    won = masses + (ahead + tie / 2).clamp(min=_LEAST).log()
    rest = 1 - won.exp() - (masses + idle).exp()
    return leads.behind.unsqueeze(-1) * (won - rest.clamp(min=_LEAST).log())


def _joined(log_odds: Tensor, classes: int, multilabel: bool) -> Tensor:
    """Return song logits (songs, n, classes) from the log odds of each duel (songs, pairs, n)."""
    if multilabel:
        return log_odds.transpose(1, 2)
    column = {pair: number for number, pair in enumerate(_pairs(classes))}
    won = []
    for a in range(classes):
        against = [
            -log_odds[:, column[a, b]] if a < b else log_odds[:, column[b, a]]
            for b in range(classes)
            if b != a
        ]
        against.append(torch.zeros_like(against[0]))
        won.append(-torch.stack(against, dim=-1).logsumexp(dim=-1))
    return torch.stack(won, dim=-1)
