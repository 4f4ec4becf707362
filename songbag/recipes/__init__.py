"""Recipes: named sets of settings, written as TOML in this folder."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from songbag.errors import SettingsError, suggestion
from songbag.settings import Recipe, read


def recipe_names() -> list[str]:
    """Names of the recipes that come with Songbag."""
    folder = resources.files("songbag") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")


def load_recipe(name: str | Path, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe by name or from a TOML file and apply dotted changes.

    Examples
    --------
    >>> load_recipe("cnn", {"training.epochs": 5}).training.epochs
    5
    """
    own = Path(name).suffix == ".toml"
    if not own and str(name) not in recipe_names():
        raise SettingsError(
            f"there is no recipe '{name}'.{suggestion(str(name), recipe_names())} "
            "A path ending in .toml reads your own."
        )
    file = Path(name) if own else resources.files("songbag") / "recipes" / f"{name}.toml"
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}: the recipe cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: not TOML: {error}") from None
    values.setdefault("name", Path(name).stem)
    for key, value in (changes or {}).items():
        *tables, last = key.split(".")
        table = values
        for step in tables:
            table = table.setdefault(step, {})
        table[last] = value
    return read(Recipe, values, f"recipe {name}")
