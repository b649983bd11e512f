"""The shard of a study: the part of the cohort that one job works on."""

from __future__ import annotations

import hashlib


def shard_of(study: str, shards: int) -> int:
    """Shard 0 .. ``shards`` - 1 of a study, by SHA-256 of its id.

    It depends on the id and on the number of shards alone: a study that joins or leaves
    moves no other.
    """
    digest = hashlib.sha256(f"shard:{study}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % shards
