"""Faults of the delivered tables, gathered so that a user sees them all at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from spinegrade.errors import SpinegradeError

MOST_LISTED = 20
MOST_OF_ONE_KIND = 3


@dataclass
class Problems:
    """Faults by kind. A kind is named by file and rule, such as "train.csv: unknown grade"."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, detail: str) -> None:
        """Note one fault: ``detail`` says row or key, the value, and what is allowed."""
        self.found.setdefault(kind, []).append(detail)

    def __bool__(self) -> bool:
        return bool(self.found)

    def raise_if_any(self, what: str) -> None:
        """Raise one SpinegradeError that lists the faults, a few of each kind, with counts."""
        if not self.found:
            return
        total = sum(len(details) for details in self.found.values())
        share = max(MOST_OF_ONE_KIND, MOST_LISTED // len(self.found))
        lines: list[str] = []
        for kind, details in self.found.items():
            shown = details[: min(share, MOST_LISTED - len(lines))]
            lines += [f"  - {kind}: {detail}" for detail in shown]
            if shown and len(details) > len(shown):
                lines[-1] += f" (and {len(details) - len(shown)} more of this kind)"
        hidden = [kind for kind in list(self.found) if not any(kind in line for line in lines)]
        if hidden:
            lines.append(f"  - also: {'; '.join(f'{k} ({len(self.found[k])})' for k in hidden)}")
        raise SpinegradeError(
            f"{what} cannot be used: {total} fault{'s' if total > 1 else ''}; mend the "
            f"file{'s' if total > 1 else ''} named and run again\n" + "\n".join(lines)
        )
