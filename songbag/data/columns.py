"""Which column of a song table is what: by its usual names, in any case, or as the user says."""

from collections.abc import Mapping, Sequence

from songbag.errors import SongTableError, suggestion

# What a column is for, and what people call it. The first name is Songbag's own.
NAMES = {
    "path": ("path", "file", "filename", "file_name", "filepath", "audio_filepath"),
    "label": ("label", "genre", "class", "tag", "category", "species", "target", "emotion"),
    "labels": ("labels",),
    "id": ("id", "track_id"),
    "split": ("split", "set", "subset", "partition"),
    "fold": ("fold",),
    "start": ("start",),
    "end": ("end",),
    "chosen": ("chosen",),
    "decision": ("decision",),
}
# What must not be divided by a split, what counts most first.
GROUPS = ("artist", "album", "performer", "speaker", "recordist", "site", "group")
SIDES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
OPTIONS = {"path": "--path", "label": "--label", "id": "--id", "fold": "--fold-column"}


def find_columns(
    columns: Sequence[str], chosen: Mapping[str, str], origin: str
) -> tuple[dict[str, str], list[str]]:
    """Return the column of each role that a table has, and remarks on those with other names.

    Roles are those of `NAMES`, and "group" for the first of `GROUPS`. Songbag's own name comes
    before others. ``chosen`` are columns by role that the user named.

    Raises
    ------
    SongTableError
        There is no column of paths, two of paths or labels, or none that was named.

    Examples
    --------
    >>> find_columns(["File", "Genre", "Artist"], {}, "songs.csv")[0]
    {'path': 'File', 'label': 'Genre', 'group': 'Artist'}
    """
    known = {column.strip().lower(): column for column in columns if column and column.strip()}
    roles = {}
    for role, names in NAMES.items():
        if role in chosen:
            roles[role] = _named(columns, chosen[role], origin)
            continue
        candidates = [known[name] for name in names if name in known]
        if role in ("path", "label") and names[0] not in known and len(candidates) > 1:
            raise SongTableError(
                f"{origin}: {' and '.join(candidates)} may both be the column of {role}s. Say "
                f"which: {OPTIONS[role]} {candidates[0]}."
            )
        if candidates:
            roles[role] = candidates[0]
    if "path" not in roles:
        raise SongTableError(
            f"{origin}: there is no column 'path'. If another one names the files, give --path "
            "COLUMN. If a row is a window, give --song COLUMN, and --song-pattern where its cells "
            "name windows, such as song.001 (in Python: songbag.bags_from_table)."
            f"{suggestion('path', columns)}"
        )
    if "label" in roles and "labels" in roles and "label" not in chosen:
        raise SongTableError(
            f"{origin}: it has a column {roles['label']} and a column labels. Keep label where "
            "every song has one, labels where songs may have several."
        )
    groups = [known[name] for name in GROUPS if name in known]
    if groups:
        roles["group"] = groups[0]
    return roles, _remarks(roles, known)


def _named(columns: Sequence[str], name: str, origin: str) -> str:
    for column in columns:
        if column.strip() == name.strip():
            return column
    raise SongTableError(f"{origin}: there is no column '{name}'.{suggestion(name, columns)}")


def _remarks(roles: Mapping[str, str], known: Mapping[str, str]) -> list[str]:
    """Return in one line which columns were taken that have other names than Songbag's own."""
    usual = {role: names[0] for role, names in NAMES.items()} | {"group": "artist"}
    said = [
        f"{role} from column {column.strip()}"
        for role, column in roles.items()
        if column.strip() != usual[role]
    ]
    for role in ("path", "label"):
        names = [name for name in NAMES[role][1:] if name in known]
        if role in roles and names and roles[role].strip().lower() not in names:
            said.append(f"{role} from column {roles[role].strip()}, not {names[0]}")
    if not said:
        return []
    return [f"{', '.join(said)}; say --path, --label, --id, --group to choose"]
