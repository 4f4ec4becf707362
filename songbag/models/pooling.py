"""Poolings: the logits of a song's windows become the logits of the song.

Every operator is ``f(logits, scores, multilabel)``:

logits : (songs, windows, classes)
    Of songs with equally many windows. Two classes come as the centred pair (-z/2, z/2), whose
    softmax is the sigmoid of z.
scores : (songs, windows, k)
    What the pooling learned, from its scorer (`songbag.models.networks`): how much attention
    each window gets, or one number repeated for every window. k is 1, or the number of labels
    for multilabel; poolings that learn nothing ignore it.
multilabel : bool
    False: one label a song, softmax over classes. True: a sigmoid for every label.

It returns song logits (songs, classes), whose softmax (or sigmoid) gives the song's
probabilities. `songbag.parts.poolings` lists the operators with their properties.

Notation: z_t window logits, centred over classes unless multilabel; p_t their softmax or
sigmoid; T windows; w_t weights that sum to one over the windows. A weighted mean of
probabilities sum_t w_t p_t with other weights for every class does not sum to one over
classes; it is divided by its sum.

References
----------
.. [1] Pinheiro, Collobert (2015), From image-level to pixel-level labeling with convolutional
   networks, CVPR, arXiv:1411.6228.
.. [2] Maron, Lozano-Perez (1998), A framework for multiple-instance learning, NIPS.
.. [3] Wang, Li, Metze (2019), A comparison of five multiple instance learning pooling functions
   for sound event detection, ICASSP, arXiv:1810.09050.
.. [4] Liu et al. (2021), Power pooling: an adaptive pooling function for weakly labelled sound
   event detection, IJCNN, arXiv:2010.09985.
.. [5] McFee, Salamon, Bello (2018), Adaptive pooling operators for weakly labeled sound event
   detection, TASLP, arXiv:1804.10070.
.. [6] Ilse, Tomczak, Welling (2018), Attention-based deep multiple instance learning, ICML,
   arXiv:1802.04712.
.. [7] Javed et al. (2022), Additive MIL, NeurIPS, arXiv:2206.01794.
.. [8] Early et al. (2024), Inherently interpretable time series classification via multiple
   instance learning, ICLR, arXiv:2311.10049.

Examples
--------
Two windows are slightly for the first class, one is strongly for the second:

>>> logits = torch.tensor([[[0.5, -0.5], [0.5, -0.5], [-3.0, 3.0]]])
>>> for pool in (mean_logit, mean_probability, hard_vote, max_logit, noisy_or):
...     p = pool(logits).softmax(dim=-1)[0]
...     print(f"{pool.__name__:17}{p[0]:.2f} {p[1]:.2f}")
mean_logit       0.21 0.79
mean_probability 0.49 0.51
hard_vote        0.62 0.38
max_logit        0.08 0.92
noisy_or         0.48 0.52
"""

import torch
from torch import Tensor
from torch.nn import functional as F

TOP_SHARE = 0.25  # of the windows that top_k takes, at least one
NONE = torch.zeros(0)  # the scores of a pooling that learns nothing


def centred(logits: Tensor, multilabel: bool = False) -> Tensor:
    """Subtract the mean over classes: the same probabilities, a unique origin."""
    return logits if multilabel else logits - logits.mean(dim=-1, keepdim=True)


def probability(logits: Tensor, multilabel: bool) -> Tensor:
    """Softmax over classes, or a sigmoid for every label."""
    return logits.sigmoid() if multilabel else logits.softmax(dim=-1)


def log_probability(logits: Tensor, multilabel: bool) -> Tensor:
    """Logarithm of `probability`, exact where it is tiny."""
    return F.logsigmoid(logits) if multilabel else F.log_softmax(logits, dim=-1)


def _mean_of(logits: Tensor, log_weights: Tensor, multilabel: bool) -> Tensor:
    """Song logits of the weighted mean of probabilities, log weights as logits' shape."""
    yes = torch.logsumexp(log_weights + log_probability(logits, multilabel), dim=1)
    if not multilabel:
        return yes
    return yes - torch.logsumexp(log_weights + F.logsigmoid(-logits), dim=1)


# --- every window alike -----------------------------------------------------------------


def uniform(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Every window counts the same, 1/T."""
    return torch.ones_like(logits) / logits.shape[1]


def mean_logit(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Mean of the windows' logits, 1/T sum_t z_t.

    The geometric mean of the windows' probabilities, normalised. A window counts as much as its
    logit is large, so one very confident window can outweigh many uncertain ones.
    """
    return centred(logits, multilabel).mean(dim=1)


def mean_probability(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Mean of the windows' probabilities, 1/T sum_t p_t.

    GlobalAveragePooling1D over windows, as in the founding question's answer. The influence of a
    window is bounded, so outliers do little harm; it is underconfident where windows disagree.
    """
    return _mean_of(logits, uniform(logits, scores, multilabel).log(), multilabel)


def hard_vote(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Share of windows that vote for a class; ties go by the mean probability.

    The mean probability counts as one more vote, divided among the classes: it breaks ties,
    never overturns a majority and keeps logarithms finite. It has no useful gradient: train with
    a loss on the window, or through `songbag.models.vote.vote`.
    """
    if multilabel:
        votes = (logits > 0).to(logits.dtype)
    else:
        votes = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    mean = probability(logits, multilabel).mean(dim=1).clamp(min=1e-7, max=1 - 1e-7)
    share = (votes.sum(dim=1) + mean) / (logits.shape[1] + 1)
    return torch.logit(share) if multilabel else share.log()


# --- the strongest windows --------------------------------------------------------------


def max_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """All weight on the window whose (centred) logit is largest, class by class."""
    return (_ranks(centred(logits, multilabel)) == 0).to(logits.dtype)


def max_logit(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Largest logit over the windows, class by class, max_t z_t.

    For labels that one window decides ("there is a solo"). It grows with the length of the
    song, one wrong window decides it, and only that window has a gradient.
    """
    return centred(logits, multilabel).amax(dim=1)


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of every window, 0 for the largest value, class by class."""
    return values.argsort(dim=1, descending=True).argsort(dim=1).to(values.dtype)


def top_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Equal weight on the k = max(1, T/4) largest logits, class by class.

    k need not be whole: the last window counts in part. So every window twice gives the same.
    """
    ranks = _ranks(centred(logits, multilabel))
    count = torch.ones_like(logits).sum(dim=1, keepdim=True).mul(TOP_SHARE).clamp(min=1)
    return (count - ranks).clamp(min=0, max=1) / count


def top_k(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Mean of the quarter of the windows with the largest logits, class by class.

    Between mean and max: intros and breaks do not count, and no single window decides.
    """
    weights = top_weights(logits, scores, multilabel)
    return (weights * centred(logits, multilabel)).sum(dim=1)


def log_mean_exp(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Smooth maximum, 1/r log(1/T sum_t exp(r z_t)), with r = softplus(score) learned.

    r to 0 is the mean of logits, r to infinity the maximum ([1]_ eq. 6). Division by T keeps it
    from growing with the song's length.
    """
    sharpness = F.softplus(scores[:, 0]).clamp(min=1e-3)
    values = sharpness.unsqueeze(1) * centred(logits, multilabel)
    return torch.logsumexp(values + uniform(logits, scores, multilabel).log(), dim=1) / sharpness


def noisy_or(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Chance that at least one window is of the class, 1 - prod_t (1 - p_t) ([2]_ section 3).

    It grows with the number of windows whatever they hold (p = .05 in 60 windows gives .95), so
    long songs get every label. Several classes are divided by their sum.
    """
    if multilabel:
        unlikely = F.softplus(logits).sum(dim=1).clamp(min=1e-30)
        return unlikely + torch.log(-torch.expm1(-unlikely))
    itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    others = torch.where(itself, -torch.inf, logits.unsqueeze(-2)).logsumexp(dim=-1)
    unlikely = (logits.logsumexp(dim=-1, keepdim=True) - others).sum(dim=1).clamp(min=1e-30)
    return torch.log(-torch.expm1(-unlikely))


# --- weights from the windows' own probabilities ----------------------------------------


def _log_linear(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    return F.log_softmax(log_probability(logits, multilabel), dim=1)


def linear_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """The windows' probabilities, divided by their sum."""
    return _log_linear(logits, scores, multilabel).exp()


def linear_softmax(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Windows weighted by their own probability, sum_t p_t^2 / sum_t p_t ([3]_ table 1).

    For labels that hold in part of a song. A window is pushed up if its probability
    exceeds half of the song's, else down.
    """
    return _mean_of(logits, _log_linear(logits, scores, multilabel), multilabel)


def _log_power(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    return F.log_softmax(F.softplus(scores) * log_probability(logits, multilabel), dim=1)


def power_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Powers of the windows' probabilities, divided by their sum."""
    return _log_power(logits, scores, multilabel).exp()


def power(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Windows weighted by a learned power of their probability ([4]_ eq. 5).

    w_t = p_t^n / sum p^n with n = softplus(score): n = 0 is the mean, n = 1 the linear
    softmax, large n the maximum. A window is pushed up if p_t exceeds n/(n+1) of the song's.
    """
    return _mean_of(logits, _log_power(logits, scores, multilabel), multilabel)


def _log_auto(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    return F.log_softmax(scores * probability(logits, multilabel), dim=1)


def autopool_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Softmax over the windows of a multiple of their probabilities."""
    return _log_auto(logits, scores, multilabel).exp()


def autopool(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Windows weighted by a learned softmax of their probability ([5]_ eq. 6).

    w_t = softmax_t(a p_t): a = 0 is the mean (where it starts), a to infinity the maximum,
    a below 0 leans to the minimum.
    """
    return _mean_of(logits, _log_auto(logits, scores, multilabel), multilabel)


# --- learned weights ---------------------------------------------------------------------


def attention_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Softmax of the scores over the windows."""
    return scores.softmax(dim=1).expand_as(logits)


def attention(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Mean of logits weighted by attention, sum_t a_t z_t, a = softmax_t(score).

    Scores come from each window's embedding h: v' tanh(V h) ([6]_ eq. 8), or gated,
    v' (tanh(V h) * sigmoid(U h)) (eq. 9). Weighting logits instead of embeddings makes the
    contributions exact ([7]_). It starts as the mean; on few songs it tends to learn little.
    """
    weights = attention_weights(logits, scores, multilabel)
    return (weights * centred(logits, multilabel)).sum(dim=1)


def gate_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Sigmoids of the scores, divided by their sum over the windows."""
    return F.softmax(F.logsigmoid(scores), dim=1).expand_as(logits)


def conjunctive(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Mean of logits weighted by gates, sum_t g_t z_t / sum_t g_t, g = sigmoid(score).

    MILLET's conjunctive pooling ([8]_ eq. 6) with normalised gates, so that one window gives
    its own logits. Unlike attention a gate does not compete with the other windows.
    """
    return (gate_weights(logits, scores, multilabel) * centred(logits, multilabel)).sum(dim=1)
