"""What providers have accepted: by it duplicates and losses are counted."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(slots=True)
class Entry:
    """One message that a provider has accepted, and would have delivered."""

    provider: str
    id: str
    channel: str
    to: str
    sender: str
    body: str
    reference: str = ""
    """The sender's own, where the provider can see it."""
    subject: str = ""
    callback: str = ""
    status: str = "queued"
    error: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    sent: datetime | None = None
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    raw: dict[str, Any] = field(default_factory=dict)
    """The request as it came."""
    answered: bool = True
    """Whether the sender was told."""

    @property
    def key(self) -> str:
        """What should be there once: our reference, or else who was told what."""
        return self.reference or f"{self.channel}|{self.to}|{self.body}"


class Ledger:
    """All that was accepted, in its order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._by_id: dict[str, Entry] = {}
        self.refused: Counter[str] = Counter()
        """How often which code was answered."""

    def add(self, entry: Entry) -> Entry:
        """Accept."""
        self.entries.append(entry)
        self._by_id[entry.id] = entry
        return entry

    def find(self, id_: str) -> Entry | None:
        """Return an entry by the id that the provider gave it."""
        return self._by_id.get(id_)

    def of(self, key: str) -> list[Entry]:
        """Return the entries with a reference, or of whom was told what."""
        return [one for one in self.entries if one.key == key]

    def duplicates(self) -> dict[str, int]:
        """Return how often is there what is there more than once."""
        return {key: count for key, count in Counter(one.key for one in self.entries).items() if count > 1}

    def clear(self) -> None:
        """Forget all."""
        self.entries.clear()
        self._by_id.clear()
        self.refused.clear()

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "entries": [asdict(one) for one in self.entries],
            "accepted": len(self.entries),
            "distinct": len({one.key for one in self.entries}),
            "duplicates": self.duplicates(),
            "refused": dict(self.refused),
        }
