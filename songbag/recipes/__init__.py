"""Recipes: named sets of settings, written as TOML in this folder."""

import tomllib
from pathlib import Path
from typing import Any

from songbag.errors import SettingsError, suggestion
from songbag.settings import Recipe, read


def load_recipe(name: str | Path, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe by name or from a TOML file and apply dotted changes.

    Examples
    --------
    >>> load_recipe("cnn", {"training.epochs": 5}).training.epochs
    5
    """
    file = Path(name)
    if file.suffix != ".toml":
        folder = Path(__file__).parent
        known = [path.stem for path in folder.glob("*.toml")]
        if str(name) not in known:
            raise SettingsError(
                f"there is no recipe '{name}'.{suggestion(str(name), known)} "
                "A path ending in .toml reads your own."
            )
        file = folder / f"{name}.toml"
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
