"""Faults of the delivered tables, gathered so that a user sees them all at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from spinegrade.errors import SpinegradeError

MOST_LISTED = 20


@dataclass
class Problems:
    """Faults by kind. A kind is named by file and rule, such as "train.csv: unknown grade"."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, detail: str) -> None:
        """Note one fault: ``detail`` says row or key, the value, and what is allowed."""
        self.found.setdefault(kind, []).append(detail)

    def __bool__(self) -> bool:
        """Whether any fault was noted."""
        return bool(self.found)

    def raise_if_any(self, what: str) -> None:
        """Raise one SpinegradeError that lists the faults, a few of each kind, with counts."""
        if not self.found:
            return
        total = sum(len(details) for details in self.found.values())
        share = max(1, MOST_LISTED // len(self.found))
        lines: list[str] = []
        for kind, details in self.found.items():
            if len(lines) < MOST_LISTED:
                lines += [f"  - {kind}: {detail}" for detail in details[:share]]
                if len(details) > share:
                    lines[-1] += f" (and {len(details) - share} more of this kind)"
            else:
                lines.append(f"  - {kind}: {len(details)} times")
        raise SpinegradeError(
            f"{what} cannot be used, {total} fault{'s' if total > 1 else ''}; mend what is "
            "named and run again\n" + "\n".join(lines),
            code="COHORT_FAULTS",
        )
