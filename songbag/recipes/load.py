"""Read recipes and other records of settings, and say which setting is wrong."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from songbag.errors import SettingsError, suggestion
from songbag.settings import Recipe, Training

R = TypeVar("R", bound=msgspec.Struct)


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


def read(kind: type[R], values: dict[str, Any], where: str) -> R:
    """Turn plain values into a record, or say which key is wrong and what is known.

    Raises
    ------
    SettingsError
        Unknown key or name (with a suggestion), wrong type, value out of range.

    Examples
    --------
    >>> from songbag.settings import Windows
    >>> read(Windows, {"seconds": 3}, "mine.toml").hop_seconds
    2.5
    >>> read(Windows, {"second": 3}, "mine.toml")
    Traceback (most recent call last):
    songbag.errors.SettingsError: mine.toml: unknown setting 'second'. Did you mean 'seconds'?
    """
    try:
        record = msgspec.convert(values, kind)
        for training in getattr(record, "trainings", [record]):
            if isinstance(training, Training):
                training.require_known_parts()
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_explanation(kind, str(error))}") from None
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None
    return record


def _explanation(kind: type, text: str) -> str:
    """Return msgspec's message with the key in quotes and with what is known instead."""
    enum = re.search(r"Invalid enum value '(.+?)' - at `\$\.?(.*?)`$", text)
    if enum:
        *tables, key = enum[2].split(".")
        known = get_args(_field_types(kind, tables)[key])
        return f"there is no {key} '{enum[1]}'.{suggestion(enum[1], known)}"
    unknown = re.search(r"unknown field `(.+?)`(?: - at `\$\.?(.*?)`)?$", text)
    if unknown:
        tables = [table for table in (unknown[2] or "").split(".") if table]
        key = ".".join([*tables, unknown[1]])
        return f"unknown setting '{key}'.{suggestion(unknown[1], _field_types(kind, tables))}"
    return text.replace("`", "'").replace("$.", "")


def _field_types(kind: Any, tables: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a record, or of a table in it, with their types."""
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    if not tables:
        return fields
    name, is_list, _ = tables[0].partition("[")  # "branches[0]" is an entry of a tuple
    inner = get_args(fields[name])[0] if is_list else fields[name]
    return _field_types(inner, tables[1:])
