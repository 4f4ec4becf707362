"""What a user's code is called with while a model is trained."""

from collections.abc import Iterable, Mapping
from typing import Any

from songbag.errors import SettingsError


class Callback:
    """Base of objects that follow a training; both methods do nothing.

    Override either and pass the object to `songbag.train`. An exception ends the training, except
    that a KeyboardInterrupt ends only the network that is trained, with its best weights so far.

    Examples
    --------
    >>> import songbag
    >>> class Losses(songbag.Callback):
    ...     def on_epoch(self, epoch, figures):
    ...         print(epoch, figures["network"], figures["loss"])
    >>> Losses().on_epoch(1, {"network": "cnn", "loss": 0.5})
    1 cnn 0.5
    """

    def on_epoch(self, epoch: int, figures: Mapping[str, Any]) -> None:
        """Take the figures of an epoch.

        Parameters
        ----------
        epoch : int
            From 1 for every network. A network that is solved without epochs has only the first.
        figures : mapping
            network (its name), loss (mean of the training songs), seconds, songs_per_second; where
            there are epochs learning_rate; where there are validation songs validation_loss,
            validation_accuracy; in a model of several networks of one kind member, from 1.
        """

    def on_end(self, figures: Mapping[str, Any]) -> None:
        """Take the figures of the test songs: those of metrics.json, none without test songs."""


def require_callbacks(callbacks: Iterable[Any]) -> tuple[Callback, ...]:
    """Return callbacks as a tuple; refuse what lacks a method, before a training begins.

    Examples
    --------
    >>> require_callbacks([print])
    Traceback (most recent call last):
    songbag.errors.SettingsError: callbacks: <built-in function print> has no method on_epoch. \
Derive its class from songbag.Callback and pass an object of it.
    """
    checked = tuple(callbacks)
    for callback in checked:
        for name in ("on_epoch", "on_end"):
            if isinstance(callback, type) or not callable(getattr(callback, name, None)):
                raise SettingsError(
                    f"callbacks: {callback!r} has no method {name}. Derive its class from "
                    "songbag.Callback and pass an object of it."
                )
    return checked
