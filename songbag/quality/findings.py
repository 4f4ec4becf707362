"""A finding: a fault of a song, a pair of songs or the collection, with advice."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from songbag.audio.meter import ADVICE
from songbag.console import counted

COLUMNS = ["kind", "severity", "id", "other_id", "label", "other_label", "found", "advice"]
SEVERITIES = ("error", "warning", "note")

# Kind: the usual severity, and the advice.
KINDS: dict[str, tuple[str, str]] = {
    "unreadable": ("error", "Replace the file, or leave the song out."),
    "silent": ("error", ADVICE["silent"]),
    "cancelling": ("error", ADVICE["cancelling"]),
    "label_conflict": ("error", "Listen, correct the wrong label, keep one copy."),
    "duplicate": ("warning", "Keep one of them."),
    "copy": ("warning", "Keep one of them."),
    "shared_part": ("note", "Listen: a remix, an edit or another excerpt. Give both one artist."),
    "truncated": ("warning", ADVICE["truncated"]),
    "damaged": ("warning", ADVICE["damaged"]),
    "length": ("warning", ADVICE["length"]),
    "short": ("warning", "It is repeated to fill a window. Leave it out if it is a mistake."),
    "unheard": ("warning", ADVICE["unheard"]),
    "narrow": ("warning", ADVICE["narrow"]),
    "one_sided": ("warning", ADVICE["one_sided"]),
    "hum": ("warning", ADVICE["hum"]),
    "silence": ("warning", ADVICE["silence"]),
    "clipped": ("note", ADVICE["clipped"]),
    "odd": ("note", "Find out why this one differs."),
    "unlabelled": ("warning", "Give it a label, or leave it out."),
    "spelling": ("warning", "If they are one, write both the same way."),
    "small_class": ("warning", "Add songs of other groups (artists, recordings), or leave it out."),
    "giveaway": ("warning", "Bring all labels to one loudness and format, or it will be learned."),
    "suspicious_label": ("warning", "Listen, and correct the label if it is wrong."),
}


@dataclass(frozen=True)
class Finding:
    """A row of findings.csv: what is wrong with a song, a pair of songs or the collection.

    ``kind`` is of `KINDS` and gives ``severity`` and ``advice`` where they are not set; ``found``
    says in words what is wrong; ``id`` and ``other_id`` are empty for the collection as a whole.

    >>> print(Finding("short", "2.0 s, less than one window of 5 s", "intro.wav").line())
    warning: short: intro.wav: 2.0 s, less than one window of 5 s. It is repeated to fill a
    window. Leave it out if it is a mistake.
    """

    kind: str
    found: str
    id: str = ""
    other_id: str = ""
    label: str = ""
    other_label: str = ""
    severity: str = ""
    advice: str = ""

    def __post_init__(self) -> None:
        severity, advice = KINDS[self.kind]
        object.__setattr__(self, "severity", self.severity or severity)
        object.__setattr__(self, "advice", self.advice or advice)

    def row(self) -> dict[str, Any]:
        """Return the finding as a row of findings.csv."""
        return asdict(self)

    def line(self) -> str:
        """Return the finding as one line of text."""
        subject = " = ".join(name for name in (self.id, self.other_id) if name) or self.label
        place = f"{subject}: " if subject else ""
        return f"{self.severity}: {self.kind}: {place}{self.found}. {self.advice}"


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings sorted by severity and kind, otherwise in the same order."""
    kinds = list(KINDS)
    return sorted(
        findings,
        key=lambda finding: (SEVERITIES.index(finding.severity), kinds.index(finding.kind)),
    )


def severity_counts(findings: Iterable[Finding]) -> str:
    """Return how many findings of each severity there are, in words.

    >>> severity_counts([Finding("odd", ""), Finding("copy", ""), Finding("short", "")])
    '2 warnings, 1 note'
    """
    count = Counter(finding.severity for finding in findings)
    parts = [counted(count[name], name) for name in SEVERITIES if count[name]]
    return ", ".join(parts) or "nothing found"
