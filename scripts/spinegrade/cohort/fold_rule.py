"""The fold of a study: a hash of its id and of the salt, and of nothing else."""

from __future__ import annotations

import hashlib


def fold_of(study: str, folds: int, salt: int) -> int:
    """Fold 0 .. ``folds`` - 1 of a study: SHA-256 of salt and id, modulo ``folds``."""
    digest = hashlib.sha256(f"fold:{salt}:{study}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds
