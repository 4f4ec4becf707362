"""A packed collection becomes bags, for a recipe that hears as it was heard."""

from pathlib import Path

from songbag.data.dataset import SongBags
from songbag.data.packed import Packed, PackedBags, PackedSongs
from songbag.errors import SettingsError
from songbag.settings import Recipe


def hear_packed(folder: Path, recipe: Recipe) -> SongBags:
    """Return the songs of a packed collection, cut as a recipe wants them.

    Raises
    ------
    SettingsError
        They were heard in another way than the recipe hears.
    SongTableError
        The folder is damaged, or not packed to the end.
    """
    packed = Packed(folder)
    about = packed.about
    for name in ("sound", "excerpt"):
        if (ours := getattr(recipe, name)) != (theirs := getattr(about, name)):
            differ = [
                f"{name}.{key} is {getattr(theirs, key)} there, {getattr(ours, key)} here"
                for key in theirs.__struct_fields__
                if getattr(ours, key) != getattr(theirs, key)
            ]
            raise SettingsError(
                f"{folder}: packed for the recipe '{about.recipe}', and '{recipe.name}' hears "
                f"songs in another way ({'; '.join(differ)}). Take the settings it was packed "
                "with, or pack the songs for this recipe."
            )
    kept, lost = packed.heard(), packed.heard(ok=False)
    reasons = [packed.column(name).take(lost).to_pylist() for name in ("reason", "message")]
    failed = list(zip(PackedSongs(packed, lost), *reasons, strict=True))
    bags = PackedBags(packed, kept, recipe.windows)
    return SongBags(bags, PackedSongs(packed, kept), str(folder), failed)
