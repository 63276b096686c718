"""How well providers work: latency, errors, outages, limits; the same for the same seed and order of requests."""

import asyncio
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Fault = Literal["", "transient", "lost", "hang"]
Order = Literal["in order", "reversed", "twice"]


@dataclass(slots=True)
class Behaviour:
    """What may be changed at any time."""

    latency: float = 0.0
    """Seconds before an answer."""
    errors: float = 0.0
    """Share of sends that are refused for now: 429 and 5xx."""
    lost: float = 0.0
    """Share of sends that are accepted and not answered: the connection is cut."""
    hang: float = 0.0
    """Share of sends that are accepted and never answered."""
    outage: bool = False
    """Whether all is answered with 503."""
    rate: float = 0.0
    """Sends per second and sender, more are answered with 429; 0: any number."""
    life: bool = True
    """Whether messages are reported on by themselves."""
    step: float = 0.0
    """Seconds between two reports on a message."""
    order: Order = "in order"
    unreachable: float = 0.0
    """Share of messages that are accepted and not delivered, for a transient reason."""
    batch: int = 20
    """Most events in one webhook of SendGrid."""
    seed: int = 0

    def change(self, values: dict[str, Any]) -> None:
        """Set some of it.

        Raises:
            ValueError: there is no such thing.
        """
        known = {one.name for one in fields(self)}
        if unknown := set(values) - known:
            raise ValueError(f"{sorted(unknown)} are not among {sorted(known)}.")
        for name, value in values.items():
            setattr(self, name, value)


@dataclass(slots=True)
class Weather:
    """Draws from a Behaviour."""

    behaviour: Behaviour
    dice: random.Random = field(init=False)
    _sent: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.dice = random.Random(self.behaviour.seed)

    async def wait(self) -> None:
        """Take as long as an answer takes."""
        if self.behaviour.latency:
            await asyncio.sleep(self.behaviour.latency)

    def fault(self) -> Fault:
        """Return what goes wrong with the next send, if anything does."""
        drawn = self.dice.random()
        for name, share in (("transient", self.behaviour.errors), ("lost", self.behaviour.lost), ("hang", self.behaviour.hang)):
            if drawn < share:
                return name
            drawn -= share
        return ""

    def undelivered(self) -> bool:
        """Return whether the next message is not delivered."""
        return self.dice.random() < self.behaviour.unreachable

    def too_many(self, sender: str) -> bool:
        """Return whether a sender has sent more than its rate within the last second; it counts this send if not."""
        if not self.behaviour.rate:
            return False
        now = time.monotonic()
        recent = self._sent[sender] = [one for one in self._sent[sender] if now - one < 1.0]
        if len(recent) >= self.behaviour.rate:
            return True
        recent.append(now)
        return False
