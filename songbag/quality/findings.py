"""A finding: what is wrong, how much it matters, with which songs, and what to do."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

COLUMNS = ["kind", "severity", "id", "other_id", "label", "other_label", "found", "advice"]
SEVERITIES = ("error", "warning", "note")

# Kind: how much it matters unless the finding says otherwise, and what to do about it.
KINDS: dict[str, tuple[str, str]] = {
    "unreadable": ("error", "Replace the file, or leave the song out."),
    "silent": ("error", "Replace the file, or leave the song out."),
    "label_conflict": ("error", "Listen, correct the wrong label, keep one copy."),
    "duplicate": ("warning", "Keep one of them."),
    "copy": ("warning", "Keep one of them."),
    "shared_part": ("note", "Listen: a remix, an edit or another excerpt. Give both one artist."),
    "truncated": ("warning", "Get the whole file again."),
    "damaged": ("warning", "Get the file again, or convert it anew."),
    "short": ("warning", "It is repeated to fill a window. Leave it out if it is a mistake."),
    "clipped": ("note", "Look for a better source."),
    "odd": ("note", "Find out why this one differs."),
    "unlabelled": ("warning", "Give it a label, or leave it out."),
    "spelling": ("warning", "If they are one, write both the same way."),
    "small_class": ("warning", "Add songs of other artists, or leave the label out."),
    "giveaway": ("warning", "Make recordings alike over the labels, or expect it to be learned."),
    "suspicious_label": ("warning", "Listen, and correct the label if it is wrong."),
}


@dataclass(frozen=True)
class Finding:
    """One row of findings.csv; findings about the collection have no id."""

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
        who = " = ".join(name for name in (self.id, self.other_id) if name) or self.label
        place = f"{who}: " if who else ""
        return f"{self.severity}: {self.kind}: {place}{self.found}. {self.advice}"


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by severity and kind, otherwise as they came."""
    kinds = list(KINDS)
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), kinds.index(one.kind)))


def counted(findings: Iterable[Finding]) -> str:
    """Return how many findings of each severity there are, in words."""
    found = [one.severity for one in findings]
    parts = [
        f"{found.count(name)} {name}{'' if found.count(name) == 1 else 's'}"
        for name in SEVERITIES
        if name in found
    ]
    return ", ".join(parts) or "nothing found"
