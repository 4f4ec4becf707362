"""Poolings: the windows' logits of songs become one logit vector a song.

Every operator is ``f(logits, scores, multilabel)``:

logits : (songs, windows, classes)
    Of songs with equally many windows; batches groups songs by count.
scores : (songs, windows, k)
    What the pooling learned, made by its scorer (`songbag.models.networks`): how much
    attention each window gets, or one number repeated for every window. k is 1, or one
    a label for multilabel; poolings that learn nothing do not look at it.
multilabel : bool
    False: one label a song, softmax over classes. Two classes come as the centred pair
    (-z/2, z/2), whose softmax is the sigmoid of z. True: a sigmoid for every label.

It returns song logits (songs, classes), whose softmax (or sigmoid) is the song's answer.

Notation: z_t window logits, centred over classes unless multilabel; p_t their softmax or
sigmoid; T windows; w_t weights that sum to one over the windows. A weighted mean of
probabilities sum_t w_t p_t with other weights for every class does not sum to one over
classes; it is divided by its sum. References are at the end of the file.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from songbag.metrics.label_kinds import SINGLE_LABEL, LabelKind
from songbag.parts import PoolingPart

Operator = Callable[..., Tensor]

TOP_SHARE = 0.25  # of the windows that top_k looks at, at least one


class SongPooling:
    """A pooling for a task: takes a network's outputs (songs, windows, classes + k).

    Parameters
    ----------
    part : PoolingPart
        `songbag.parts.poolings` has them by name.
    classes : int
    kind : LabelKind
        Whether a song has one label or any number of them.

    Examples
    --------
    >>> from songbag.parts import poolings
    >>> pooling = SongPooling(poolings()["mean_logit"], classes=2)
    >>> outputs = torch.tensor([[[-2.0, 2.0], [1.0, -1.0]]])  # one song of two windows
    >>> pooling.song(outputs)
    tensor([[-0.5000,  0.5000]])
    >>> pooling.contributions(outputs, pooling.song(outputs))
    tensor([[[-1.0000,  1.0000],
             [ 0.5000, -0.5000]]])
    """

    def __init__(self, part: PoolingPart, classes: int, kind: LabelKind = SINGLE_LABEL) -> None:
        self.part, self.classes, self.kind = part, classes, kind
        self.pool, self.weights, self.left_out = map(part.load, ("target", "weights", "left_out"))
        self.wants_scores = part.accepts("scores", "multilabel")

    @property
    def outputs(self) -> int:
        """Outputs of a network: one z for two classes, else one a class or label."""
        return 1 if self.classes == 2 and not self.kind.multilabel else self.classes

    @property
    def heads(self) -> int:
        """Scores a window that the pooling wants from its scorer."""
        if self.part.scorer == "":
            return 0
        return self.classes if self.kind.multilabel else 1

    def logits(self, outputs: Tensor) -> Tensor:
        """Return the windows' logits (songs, windows, classes) without the scores."""
        return outputs[..., : self.classes]

    def song(self, outputs: Tensor) -> Tensor:
        """Return song logits (songs, classes)."""
        return self._apply(self.pool, outputs)

    def score(self, song: Tensor) -> Tensor:
        """Return song logits in the pooling's own space, (songs, classes)."""
        return song if self.part.space == "logit" else probability(song, self.kind.multilabel)

    def contributions(self, outputs: Tensor, score: Tensor) -> Tensor | None:
        """Return what each window adds to the score, (songs, windows, classes).

        They sum to the score over the windows where there is a space. Elsewhere, what the
        score loses without the window; None where that is found by pooling again.
        """
        logits = self.logits(outputs)
        if self.left_out is not None:
            without = self.score(self._apply(self.left_out, outputs))
            wide = score.unsqueeze(1).expand_as(without)
            count = torch.ones_like(logits).sum(dim=1, keepdim=True)
            return torch.where(count > 1, wide - without, wide)  # nothing left: all of it
        if self.weights is None:
            return None
        weights = self._apply(self.weights, outputs)
        if self.part.space == "logit":
            return weights * centred(logits, self.kind.multilabel)
        shares = weights * probability(logits, self.kind.multilabel)
        return shares if self.kind.multilabel else shares / shares.sum(dim=(1, 2), keepdim=True)

    def _apply(self, operator: Operator, outputs: Tensor) -> Tensor:
        logits = self.logits(outputs)
        if not self.wants_scores:
            return operator(logits)
        scores, multilabel = outputs[..., self.classes :], self.kind.multilabel
        return operator(logits, scores=scores, multilabel=multilabel)


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

    The geometric mean of the windows' probabilities, normalised. Every window pulls as
    hard as its logit is large, so one very sure window can outvote many unsure ones.
    """
    return centred(logits, multilabel).mean(dim=1)


def mean_probability(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Mean of the windows' probabilities, 1/T sum_t p_t.

    The founding answer: GlobalAveragePooling1D over windows. A window's pull is bounded,
    so outliers do little harm; it is under-confident where windows disagree.
    """
    return _mean_of(logits, uniform(logits, scores, multilabel).log(), multilabel)


def hard_vote(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Share of windows that vote for a class; ties go by the mean probability.

    The asker's majority vote. The mean probability counts as one more vote shared out
    among the classes: it breaks ties, never overturns a majority and keeps logarithms
    finite. It has no useful gradient: train with a loss on the window, or through `vote`.
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

    For labels that one window settles ("there is a solo"). It grows with the length of the
    song, and one wrong window decides; only that window learns.
    """
    return centred(logits, multilabel).amax(dim=1)


def _ranks(values: Tensor) -> Tensor:
    """Place of every window among the others, 0 for the largest, class by class."""
    return values.argsort(dim=1, descending=True).argsort(dim=1).to(values.dtype)


def top_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Equal weight on the k = max(1, T/4) largest logits, class by class.

    k need not be whole: the last window counts in part. So a song heard twice is the same
    song.
    """
    ranks = _ranks(centred(logits, multilabel))
    count = torch.ones_like(logits).sum(dim=1, keepdim=True).mul(TOP_SHARE).clamp(min=1)
    return (count - ranks).clamp(min=0, max=1) / count


def top_k(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Mean of the quarter of the windows with the largest logits, class by class.

    Between mean and max: intros and breaks are not asked, one window does not decide.
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

    Beware: it grows with the number of windows whatever they hold (p = .05 in 60 windows
    gives .95), so long songs get every label. Several classes are divided by their sum.
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


# --- weights from what a window sounds like ---------------------------------------------


def attention_weights(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Softmax of the scores over the windows."""
    return scores.softmax(dim=1).expand_as(logits)


def attention(logits: Tensor, scores: Tensor = NONE, multilabel: bool = False) -> Tensor:
    """Mean of logits weighted by attention, sum_t a_t z_t, a = softmax_t(score).

    Scores come from each window's embedding h: v' tanh(V h) ([6]_ eq. 8), or gated,
    v' (tanh(V h) * sigmoid(U h)) (eq. 9). Weighting logits instead of embeddings makes the
    contributions exact ([7]_). Starts as the mean; on few songs it tends to learn little.
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


# References
# ----------
# .. [1] Pinheiro, Collobert (2015), From image-level to pixel-level labeling with
#    convolutional networks, CVPR, arXiv:1411.6228.
# .. [2] Maron, Lozano-Perez (1998), A framework for multiple-instance learning, NIPS.
# .. [3] Wang, Li, Metze (2019), A comparison of five multiple instance learning pooling
#    functions for sound event detection, ICASSP, arXiv:1810.09050.
# .. [4] Liu et al. (2021), Power pooling: an adaptive pooling function for weakly labelled
#    sound event detection, IJCNN, arXiv:2010.09985.
# .. [5] McFee, Salamon, Bello (2018), Adaptive pooling operators for weakly labeled sound
#    event detection, TASLP, arXiv:1804.10070.
# .. [6] Ilse, Tomczak, Welling (2018), Attention-based deep multiple instance learning,
#    ICML, arXiv:1802.04712.
# .. [7] Javed et al. (2022), Additive MIL, NeurIPS, arXiv:2206.01794.
# .. [8] Early et al. (2024), Inherently interpretable time series classification via
#    multiple instance learning, ICLR, arXiv:2311.10049.
