"""Scorers: what a pooling learns about windows, beside their logits.

A scorer takes each window's embedding, what the network's last linear layer sees, and
returns scores (windows, k). `with_scorer` puts it beside that layer, so a network with a
scorer still is one module from windows to rows: logits, then scores.
"""

import torch
from torch import Tensor, nn

_HIDDEN = 32


class Evidence(nn.Module):
    """Embeddings (windows, values) to rows (windows, classes + k): logits, then scores."""

    def __init__(self, classifier: nn.Module, scorer: nn.Module) -> None:
        super().__init__()
        self.classifier, self.scorer = classifier, scorer

    def forward(self, embedding: Tensor) -> Tensor:
        logits = both_classes(self.classifier(embedding))
        return torch.cat([logits, self.scorer(embedding)], dim=-1)


class Attention(nn.Module):
    """v' tanh(V h), or gated v' (tanh(V h) * sigmoid(U h)); v starts at zero.

    So the first step begins at the plain mean, and attention has to earn its place.
    """

    def __init__(self, values: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.seen = nn.Linear(values, _HIDDEN)
        self.gate = nn.Linear(values, _HIDDEN) if gated else None
        self.score = nn.Linear(_HIDDEN, heads)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        found = self.seen(embedding).tanh()
        if self.gate is not None:
            found = found * self.gate(embedding).sigmoid()
        scores: Tensor = self.score(found)
        return scores


class Number(nn.Module):
    """One learned number a head, the same for every window."""

    def __init__(self, heads: int, start: float) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.full((heads,), start))

    def forward(self, embedding: Tensor) -> Tensor:
        return self.number.expand(embedding.shape[0], -1)


def both_classes(outputs: Tensor) -> Tensor:
    """Turn one output z into the centred pair (-z/2, z/2), whose softmax is sigmoid(z)."""
    if outputs.shape[-1] > 1:
        return outputs
    return torch.cat([-outputs / 2, outputs / 2], dim=-1)


def with_scorer(network: nn.Module, kind: str | float, heads: int, classes: int) -> nn.Module:
    """Return the network with a scorer beside its last linear layer.

    Parameters
    ----------
    kind : {"", "attention", "gated"} or float
        As `Pooling.scorer`; "" returns the network as it is.
    heads : int
        Scores a window.
    classes : int
        For a network without a linear layer: the scorer sees its logits then.
    """
    if kind == "":
        return network
    linear = [name for name, part in network.named_modules() if type(part) is nn.Linear]
    if not linear:
        return nn.Sequential(network, Evidence(nn.Identity(), _scorer(kind, classes, heads)))
    parent, _, name = linear[-1].rpartition(".")
    classifier = network.get_submodule(linear[-1])
    assert isinstance(classifier, nn.Linear)
    evidence = Evidence(classifier, _scorer(kind, classifier.in_features, heads))
    setattr(network.get_submodule(parent), name, evidence)
    return network


def _scorer(kind: str | float, values: int, heads: int) -> nn.Module:
    if isinstance(kind, float):
        return Number(heads, kind)
    return Attention(values, heads, gated=kind == "gated")
