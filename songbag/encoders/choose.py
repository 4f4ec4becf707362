"""A recipe with the encoder that it names, or that a user chooses."""

from pathlib import Path
from typing import Any

import msgspec

from songbag.encoders.known import remember
from songbag.encoders.manifest import load_encoder
from songbag.errors import SettingsError
from songbag.recipes.load import load_recipe, read
from songbag.settings import Recipe, Training

NO_ENCODER = "none"


def choose_recipe(
    name: str | Path,
    changes: dict[str, Any] | None = None,
    encoder: str | None = None,
) -> Recipe:
    """Read a recipe as `load_recipe` does, for songs that an encoder listens to.

    Parameters
    ----------
    encoder : str, optional
        A name of `songbag.parts.encoders`, an ONNX file, or "none"; by default what the recipe
        names.

    Returns
    -------
    Recipe
        Where the encoder is the recipe's own choice, ``without`` is the recipe for songs that it
        does not help with.

    Raises
    ------
    SettingsError
        The recipe takes no encoder, or the encoder cannot be used.

    Examples
    --------
    >>> choose_recipe("auto").sound.encoding.name
    'musicnn'
    """
    changes = changes or {}
    recipe = load_recipe(name, changes)
    chosen = encoder or recipe.encoder or NO_ENCODER
    # Networks that learn from spectra change these as they learn: copies are for an encoder.
    copies = recipe.augment if "augment" in changes else 0
    plain = msgspec.structs.replace(recipe, encoder="", encoded=(), augment=copies)
    only_encoded = bool(recipe.encoder) and recipe.training == Training()
    if chosen == NO_ENCODER and not only_encoded:
        return plain
    if chosen == NO_ENCODER or not recipe.encoded:
        fitting = "cnn with --encoder none" if only_encoded else f"auto with --encoder {chosen}"
        takes = "an" if only_encoded else "no"
        raise SettingsError(
            f"recipe '{recipe.name}' takes {takes} encoder. Use --recipe {fitting}."
        )
    loaded = load_encoder(str(chosen))
    for key in changes:
        if key.startswith("sound."):
            raise SettingsError(
                f"--set {key}: the encoder '{loaded.encoding.name}' states what it listens to "
                f"({loaded.sound.sample_rate} Hz). Leave that out, or give --encoder none."
            )
    remember(loaded)
    has = {"matrix": bool(loaded.encoding.levels), "hidden": "summary" in loaded.head}
    usable = [training for training in recipe.encoded if has.get(training.network_part.takes, True)]
    if not usable:  # networks on a hidden layer that the encoder does not have: on its vectors
        usable = [msgspec.structs.replace(recipe.encoded[0], network="linear")]
    stated = msgspec.to_builtins(usable[0]) | {"folds": recipe.encoded[0].folds}
    stated |= {
        key.removeprefix("training."): value
        for key, value in changes.items()
        if key.startswith("training.")
    }
    return msgspec.structs.replace(
        plain,
        sound=loaded.sound,
        training=read(Training, stated, f"recipe {name}"),
        branches=tuple(usable[1:]),
        encoder=loaded.encoding.name,
        augment=recipe.augment,
        without=None if encoder or only_encoded else plain,
    )
