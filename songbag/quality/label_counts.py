"""Labels with fewer songs or groups than a split needs, and songs without a label."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from songbag.data.song import Song
from songbag.quality.findings import Finding

_FOLDS = 5  # of a cross-validation; a label in fewer groups is missing from some of them


def label_count_findings(songs: Sequence[Song]) -> Iterator[Finding]:
    """Yield labels with fewer songs or groups than a split needs, and songs without a label.

    >>> songs = [Song(str(n), f"{n}.mp3", label="polka", artist="Anna") for n in range(3)]
    >>> for finding in label_count_findings(songs):
    ...     print(finding.severity, finding.label, finding.found)
    error polka 3 songs of 1 artist; it cannot be both learned and tested, training refuses it
    """
    labelled = [song for song in songs if song.labels]
    if not labelled:
        return
    for song in songs:
        if not song.labels and not song.multilabel:  # with several labels, none is an answer too
            yield Finding("unlabelled", "it has no label, others have", song.id)
    groups: dict[str, set[str]] = defaultdict(set)
    for song in labelled:
        for label in song.labels:
            groups[label].add(song.group)
    songs_of = Counter(label for song in labelled for label in song.labels)
    group_by = labelled[0].group_by if any(song.group_value for song in labelled) else None
    for label in sorted(songs_of):
        number = len(groups[label])
        if number >= _FOLDS:
            continue
        text = f"{songs_of[label]} song{'' if songs_of[label] == 1 else 's'}"
        if group_by:
            text += f" of {number} {group_by}{'' if number == 1 else 's'}"
        if number == 1:
            text += "; it cannot be both learned and tested, training refuses it"
        else:
            text += f"; a cross-validation of {_FOLDS} folds cannot have it in each"
        yield Finding("small_class", text, label=label, severity="error" if number == 1 else "")
