"""A registry of parts: objects that describe code by attributes, found by name.

`songbag.parts` says which parts there are, and how other packages add theirs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from songbag.errors import SettingsError, suggestion

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Target = str | Callable[..., Any]  # "module:object", imported when it is used, or the object


@dataclass(frozen=True, kw_only=True)
class Part:
    """What all parts have."""

    name: str = ""  # as in a recipe, on the command line and in a model file
    summary: str = ""  # one line
    target: Target = ""
    package: str = ""  # that adds it; empty for Songbag's own

    def load(self, attribute: str = "target") -> Any:
        """Return the object that an attribute names, None where it names nothing."""
        value = getattr(self, attribute)
        if not isinstance(value, str):
            return value
        module, _, name = value.partition(":")
        try:
            return getattr(import_module(module), name) if value else None
        except (ImportError, AttributeError) as error:
            if not self.package:
                raise
            raise SettingsError(
                f"'{self.name}' of the package {self.package} cannot be used: its {attribute} "
                f"'{value}' cannot be imported ({error}). Update or uninstall the package."
            ) from error

    def accepts(self, *parameters: str) -> bool:
        """Tell whether the target has parameters of these names."""
        try:
            return set(parameters) <= signature(self.load()).parameters.keys()
        except ValueError:  # a function written in C says nothing of its parameters
            return False


P = TypeVar("P", bound=Part)


class Registry(Generic[P]):
    """Parts of one kind by name: Songbag's own and those of other packages.

    Iterating gives the names, in alphabetical order. Entry points are read only for a name
    that is not Songbag's own, and for the list of all names.

    Parameters
    ----------
    kind : type
        Of the descriptions.
    what : str
        "pooling"; the entry points' group is "songbag.poolings".
    own : sequence
        Songbag's own parts. Other packages cannot replace them.
    """

    def __init__(self, kind: type[P], what: str, own: Sequence[P]) -> None:
        self.kind, self.what = kind, what
        self._parts = {part.name: part for part in own}

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._parts.keys() | self._entries.keys()))

    def __getitem__(self, name: str) -> P:
        if name not in self._parts:
            self._parts[name] = self._added(name)
        return self._parts[name]

    @cached_property
    def _entries(self) -> "dict[str, list[EntryPoint]]":
        from importlib.metadata import entry_points

        entries = defaultdict(list)
        for entry in entry_points(group=f"songbag.{self.what}s"):
            entries[entry.name].append(entry)
        return dict(entries)

    def _added(self, name: str) -> P:
        """Return the part that an entry point names."""
        entries = self._entries.get(name, [])
        if not entries:
            raise SettingsError(f"there is no {self.what} '{name}'.{suggestion(name, self)}")
        packages = sorted({entry.dist.name if entry.dist else "unknown" for entry in entries})
        if len(entries) > 1:
            raise SettingsError(
                f"the {self.what} '{name}' is added by several packages: {', '.join(packages)}. "
                "Uninstall all but one."
            )
        try:
            thing = entries[0].load()
        except Exception as error:  # importing a module can raise anything
            raise SettingsError(
                f"the package {packages[0]} adds the {self.what} '{name}', but "
                f"'{entries[0].value}' cannot be imported ({type(error).__name__}: {error}). "
                "Update or uninstall the package."
            ) from error
        if isinstance(thing, self.kind):
            return replace(thing, name=name, package=packages[0])
        if not callable(thing):
            raise SettingsError(
                f"the package {packages[0]} adds the {self.what} '{name}' as "
                f"'{entries[0].value}', which is a {type(thing).__name__}. It must be a "
                f"{self.kind.__name__}, a function or a class."
            )
        stated = {
            field.name: getattr(thing, field.name)
            for field in fields(self.kind)
            if hasattr(thing, field.name)
        }
        stated.setdefault("summary", (thing.__doc__ or "").strip().partition("\n")[0])
        return self.kind(**stated | {"name": name, "target": thing, "package": packages[0]})
