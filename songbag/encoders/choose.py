"""A recipe with the encoder that it names, or that a user chooses."""

from pathlib import Path
from typing import Any

import msgspec

from songbag.encoders.known import remember
from songbag.encoders.manifest import load_encoder
from songbag.errors import SettingsError
from songbag.recipes import load_recipe, read
from songbag.settings import Recipe, Training

NONE = "none"


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

    Raises
    ------
    SettingsError
        The recipe takes no encoder, or the encoder cannot be used.

    Examples
    --------
    >>> choose_recipe("auto", encoder="musicnn").sound.encoding.name
    'musicnn'
    """
    changes = changes or {}
    recipe = load_recipe(name, changes)
    chosen = encoder or recipe.encoder or NONE
    if chosen == NONE:
        return msgspec.structs.replace(recipe, encoder="", encoded=())
    if not recipe.encoded:
        raise SettingsError(
            f"recipe '{recipe.name}' takes no encoder. Use --recipe auto, fast or ears with "
            f"--encoder {chosen}."
        )
    loaded = load_encoder(str(chosen))
    remember(loaded)
    has = {"matrix": bool(loaded.encoding.levels), "hidden": "summary" in loaded.head}
    usable = [training for training in recipe.encoded if has.get(training.network_part.takes, True)]
    stated = msgspec.to_builtins(usable[0]) | {"folds": recipe.encoded[0].folds}
    stated |= {key[9:]: value for key, value in changes.items() if key.startswith("training.")}
    first = read(Training, stated, f"recipe {name}")
    return msgspec.structs.replace(
        recipe,
        sound=loaded.sound,
        training=first,
        branches=tuple(usable[1:]),
        encoder=loaded.encoding.name,
        encoded=(),
    )
