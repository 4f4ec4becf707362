"""Write the labels of songs into the tags of their files, with the old values in a journal."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from songbag.audio.cache import carry_receipts, file_stamp
from songbag.audio.tags import read_field, write_field
from songbag.collection.answers import Answer
from songbag.collection.journal import Entry, Journal
from songbag.errors import TagError
from songbag.storage.remote import AnyPath


@dataclass
class Tagged:
    """What became of the files."""

    written: int = 0
    same: int = 0  # had these values already
    unsure: int = 0  # had no label
    problems: list[str] = field(default_factory=list)


def write_tags(answers: Iterable[Answer], name: str, journal: Journal, cache: AnyPath) -> Tagged:
    """Write the labels of songs into a field of their tags.

    Only the tags of a file change, so what the cache knows of its sound stays true.
    """
    tagged = Tagged()
    for answer in answers:
        path = os.path.abspath(answer.path)
        if not answer.labels:
            tagged.unsure += 1
            continue
        try:
            if read_field(path, name) == answer.labels:
                tagged.same += 1
                continue
            old, before = read_field(path, name, raw=True), file_stamp(path)
            journal.append(Entry(do="tag", path=path, field=name, old=old, new=answer.labels))
            write_field(path, name, answer.labels)
            carry_receipts(cache, path, before)
            tagged.written += 1
        except TagError as error:
            tagged.problems.append(str(error))
    return tagged
