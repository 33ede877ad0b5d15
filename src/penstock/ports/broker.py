"""What moves jobs, in the queue's words and in batches, so that each broker can be fast in its own idiom.

Rules that every adapter keeps and the contract suite (``penstock.testing``) proves:

- A call that raises ``BrokerUnavailable`` may or may not have taken effect. It is repeated with the same number
  (``Origin`` for enqueue, ``number`` for settle) and then answered as it would have been the first time.
- Nothing is retried inside a driver. No driver's exception leaves the adapter.
- Every wait is bounded; a cancelled call leaves no connection from which somebody else reads its answer.
- What is due, expired or lost is decided by the broker's own clock where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from penstock.core.job import Delivery, Enqueued, Job, Origin
from penstock.core.settlement import Settlement


class Capabilities(msgspec.Struct, frozen=True):
    """What a broker can do; the contract skips by these and by nothing else.

    Attributes:
        token: Deliveries are fenced: a settle that comes too late is refused.
        unique: A ``job_id`` is unique in its queue while stored, and a repeated enqueue call adds nothing.
        priority: Ten levels, exact. Otherwise best effort.
        inspect: It has an Inspector.
        shared: Several processes can use it at once.
        durable: Acknowledged jobs outlive the broker's process.
        batch: Jobs that one call should carry at the most; while it is carried out everybody else waits.
    """

    token: bool = True
    unique: bool = True
    priority: bool = True
    inspect: bool = True
    shared: bool = True
    durable: bool = True
    batch: int = 200


class Fetched(NamedTuple):
    """What a fetch brought: deliveries in the order to run them, and seconds until something held back is due."""

    deliveries: Sequence[Delivery]
    next_due_s: float | None = None


class Started(NamedTuple):
    """Note: this delivery is about to run. Written before a suspect or an at-most-once job is."""

    delivery: Delivery


class Progress(NamedTuple):
    """Note: how far a delivery has come, as encoded data; the newest counts."""

    delivery: Delivery
    data: bytes


class Answer(NamedTuple):
    """Note: a command was carried out; ``text`` is shown to who gave it."""

    command_id: str
    text: str


Note = Started | Progress | Answer


class Command(NamedTuple):
    """An order to one worker: ``quiet``, ``resume``, ``stop`` or ``dump``. Given until it is answered or expires."""

    id: str
    verb: str


class Beat(NamedTuple):
    """What a beat brings back.

    Attributes:
        lost: Tokens named in ``holding`` or in a note that this consumer no longer holds.
        cancelled: Tokens held by this consumer whose job is to be cancelled.
        commands: Commands to this worker that are not answered yet.
    """

    lost: frozenset[int] = frozenset()
    cancelled: frozenset[int] = frozenset()
    commands: Sequence[Command] = ()


class Maintained(NamedTuple):
    """What one round of maintenance did, in jobs.

    ``pruned`` counts all whose time to be kept was over, ``dropped`` those of them that were dead or quarantined;
    ``more``: the limit was reached, go on at once.
    """

    promoted: int = 0
    reclaimed: int = 0
    expired: int = 0
    pruned: int = 0
    dropped: int = 0
    more: bool = False
    waiting_s: float = 0.0


class WorkerCard(msgspec.Struct, omit_defaults=True):
    """What a worker tells of itself; stored with its consumer and shown by ``penstock workers``."""

    id: str
    app: str
    host: str = ""
    pid: int = 0
    queues: list[str] = []
    concurrency: int = 0
    state: str = "running"
    started_at: float = 0.0
    seen_at: float = 0.0
    running: int = 0
    done: int = 0
    failed: int = 0
    lost: int = 0
    version: str = ""


class Consumer(Protocol):
    """A worker's claim on queues: a random incarnation id and a lease, renewed by every beat and fetch.

    ``fetch`` is called by one caller at a time, ``settle`` by one at a time, ``beat`` by any; the three may overlap.
    """

    id: str

    async def fetch(
        self,
        limit: int,
        max_bytes: int,
        wait_s: float,
        suspects: int | None = None,
        order: Sequence[int] | None = None,
    ) -> Fetched:
        """Claims up to ``limit`` jobs, in the order of the queues, then suspects, then priority, then age.

        ``order`` is that of the queues for this call: the places that they have among the consumer's, each exactly
        once; None is the order in which they were named.

        Of suspects, whatever their priority, those that were put back last come first, and no more than ``suspects``
        of them (None: any number): they run one at a time, and must not stand in the way of others meanwhile.

        Waits up to ``wait_s`` (0: not at all) where nothing is ready. A job above ``max_bytes`` comes alone. What an
        earlier fetch claimed and could not deliver (its reply was lost) is delivered by the next one or released.
        Jobs that have expired are settled as such and not delivered. Promotes what has become due; it goes behind what
        was ready before, by its moment. Age counts from when a job was last put into its line.
        A consumer whose lease was over goes on under its id with its next fetch or beat; what was reclaimed is lost.
        Of a queue that is paused (``Inspector.pause``) nothing is claimed, promoted, expired or said to be due; who
        waits for it waits as for an empty one.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement], number: int) -> Sequence[Delivery]:
        """Carries out settlements, each queue's in one atomic step, and returns the deliveries that were lost.

        ``number`` is the caller's own count of settle calls: an unanswered call is repeated with its number and its
        settlements and is answered as it was, or would have been, the first time. A greater number is a new call.
        A settlement whose token is not the job's present one, held by this consumer, changes nothing.
        Jobs released to the front in one call keep the call's order there. A job that was asked to be cancelled and
        would go back (again, deferred, released, reclaimed, given back) ends as cancelled instead. The reason of a
        ``Defer`` or ``Quarantine`` is kept as the message of the record's error. Any settlement but ``Release`` takes
        the suspicion off a job.
        """
        ...

    async def beat(
        self,
        lease_s: float,
        notes: Sequence[Note] = (),
        holding: Sequence[Delivery] = (),
        card: WorkerCard | None = None,
    ) -> Beat:
        """Renews the lease and writes the notes; says which of ``holding`` (and of the notes') are lost."""
        ...

    async def close(self) -> None:
        """Ends the lease. Safe to call twice.

        What is held goes back as fresh jobs (no suspects), to the front, in the order of their claim.
        """
        ...


class Broker(Protocol):
    """Moves jobs. One instance belongs to one event loop.

    Attributes:
        capabilities: What it can do.
        clock_shift_s: Added to the broker's clock in every call of this instance and of its consumers, so that tests
            can move time; 0 outside of them.
    """

    capabilities: Capabilities
    clock_shift_s: float

    async def open(self) -> Sequence[str]:
        """Connects, prepares, and checks the settings; returns warnings, a line each. Safe to call twice.

        Raises:
            BrokerMisconfigured: A setting would lose jobs.
            BrokerUnavailable: No answer.
        """
        ...

    async def close(self) -> None:
        """Closes the connections. Safe to call twice."""
        ...

    async def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        """Stores jobs durably, each queue's in one atomic step; answers in their order.

        Beyond ``Capabilities.batch`` jobs or 1 MiB of bodies a queue's may take several steps. A call for one queue
        within that bound that raises ``BrokerRejected`` has stored nothing, unless it repeats an unanswered one.
        A job that is ``unique`` and whose id is stored in any state is left as it is (``added`` false). A call that
        repeats ``origin`` adds nothing and is answered as the first time.
        """
        ...

    async def consumer(
        self, queues: Sequence[str], *, window: int, lease_s: float, card: WorkerCard, id: str | None = None
    ) -> Consumer:
        """A new consumer with a random incarnation id (``id`` names one already drawn by the caller).

        ``window`` is the most that it will ever hold at once. It appears in ``workers()`` under ``card``.
        """
        ...

    async def maintain(self, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
        """One round of housekeeping over ``queues``, at most ``limit`` jobs of each kind.

        Promotes what is due, reclaims from consumers whose lease is over, expires, prunes outcomes, old producers'
        numbers, and dead and quarantined jobs beyond 90 days or 100,000 a queue.

        Reclaiming needs a witness: where the last round (of anybody, by the broker's clock) was more than half a
        lease ago, or in the future, nothing is reclaimed for one full ``lease_s`` from now; ``waiting_s`` is what is
        left of that. Where the last round lies in the future the clock was set back, and leases that end later than one
        given now are put back as far, but not to before that one's end. A reclaimed job is a suspect at the front of
        its line, in the order of the claims; one that had been marked started counts one more crash. The witness is
        kept for each queue.
        """
        ...


class BlockingProducer(Protocol):
    """The blocking way in, on the driver's own synchronous client: one round trip, no thread hop.

    Belongs to one thread at a time. Also used by the guard, which lives in a process without a loop.

    Attributes:
        answer_s: Seconds that a call waits for the broker before it raises ``BrokerUnavailable``; may be changed
            between calls.
    """

    answer_s: float

    def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        """As ``Broker.enqueue``.

        Raises:
            ConfigError: It came in the middle of another producer's call on the same thread, as the handler of a signal
                may, and would wait for what that call holds.
        """
        ...

    def begin(self, jobs: Sequence[Job], origin: Origin) -> Callable[[], Sequence[Enqueued]]:
        """``enqueue`` in two halves: sends the call where there is a server, and gives what waits for its answer.

        Either half may raise what ``enqueue`` does. Until the second was called no other call is made.
        """
        ...

    def extend(self, consumer_id: str, queues: Sequence[str], lease_s: float) -> bool:
        """Renews a consumer's lease from outside, where it still has one; says whether it had."""
        ...

    def close(self) -> None:
        """Closes the connection. Safe to call twice."""
        ...

    def abandon(self) -> None:
        """In a forked child: lets go of the connection without a word on the wire that the parent still uses."""
        ...
