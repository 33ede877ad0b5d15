"""Which libraries there are, and how each is started: in its documented default, and in its best.

A setting called ``default`` is what a library's own documentation starts; where its default is several worker processes
and an option says how many, it is one here, since everybody is measured with one. ``best`` is what its documentation
recommends for throughput, with the concurrency that measured best on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import environments

KINDS = ("noop", "1 ms", "10 ms")
EARLY, LATE = "early", "late"


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a library.

    Attributes:
        name: What the application reads as ``PEERS_SETTING``, and what the tables call it.
        command: The worker's command line. ``{bin}`` is the environment's folder of programs, ``{c}`` the concurrency,
            ``{url}`` the Redis server.
        concurrency: Jobs at once in no-op runs.
        napping: Jobs at once where jobs wait; None for the same.
        ack: Whether a message is gone before its job has run (``early``: a killed worker loses it) or after it.
        results: Whether what a task returns is kept.
        about: What the setting is, for the table.
        rate: No-op jobs a second, as a first guess of how many a run needs.
        kinds: The work it is measured at.
        durable: Whether it is measured on a Redis with an append-only file too.
        env: More environment variables of the worker.
    """

    name: str
    command: str
    concurrency: int
    ack: str
    results: bool
    about: str
    rate: float
    napping: int | None = None
    kinds: tuple[str, ...] = KINDS
    durable: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    def at_once(self, kind: str) -> int:
        """Its concurrency for a kind of work."""
        return self.concurrency if kind == "noop" or self.napping is None else self.napping


@dataclass(frozen=True, slots=True)
class Peer:
    """One library.

    Attributes:
        name: As it writes itself.
        key: What the command line calls it; also its file in ``requirements/`` and its folder in ``.cache/peers``.
        sleep: What a waiting job calls.
        settings: The ways to run it, the default first.
        bulk: What its bulk call is, or why there is none.
        environment: Makes its environment and returns the folder of its programs; raises ``Absent`` with the reason.
        producer: The program that enqueues, before its arguments.
        versions: Of what it is made, given its programs.
    """

    name: str
    key: str
    sleep: str
    settings: tuple[Setting, ...]
    bulk: str
    environment: Callable[[], Path]
    producer: tuple[str, ...]
    versions: Callable[[Path], str]

    def setting(self, name: str) -> Setting:
        """One of its settings by name."""
        return next(setting for setting in self.settings if setting.name == name)

    def worker(self, setting: Setting, kind: str, programs: Path, url: str) -> list[str]:
        """The worker's command line."""
        words = setting.command.split()
        return [word.format(bin=programs, c=setting.at_once(kind), url=url) for word in words]

    def enqueuing(self, programs: Path, *arguments: object) -> list[str]:
        """The command line that enqueues; see ``produce``."""
        return [word.format(bin=programs) for word in self.producer] + [str(each) for each in arguments]


def _python(name: str, key: str, sleep: str, bulk: str, *settings: Setting) -> Peer:
    return Peer(
        name,
        key,
        sleep,
        settings,
        bulk,
        environment=lambda: environments.python(key),
        producer=("{bin}/python", "-m", "benchmarks.peers.produce", f"benchmarks.peers.{key}_app"),
        versions=lambda programs: environments.versions(key),
    )


PENSTOCK = Peer(
    "Penstock",
    "penstock",
    "time.sleep on threads, asyncio.sleep in coroutines",
    (
        Setting(
            "default",
            "{bin}/penstock -A benchmarks.peers.penstock_app worker",
            10,
            LATE,
            True,
            "threads, results stored",
            100_000,
            durable=True,
        ),
        Setting(
            "no results",
            "{bin}/penstock -A benchmarks.peers.penstock_app worker",
            10,
            LATE,
            False,
            "threads, `result_ttl=0`",
            200_000,
            kinds=("noop",),
            durable=True,
        ),
        Setting(
            "coroutines",
            "{bin}/penstock -A benchmarks.peers.penstock_app worker",
            10,
            LATE,
            True,
            "coroutines, results stored",
            80_000,
        ),
        Setting(
            "coroutines, no results",
            "{bin}/penstock -A benchmarks.peers.penstock_app worker",
            10,
            LATE,
            False,
            "coroutines, `result_ttl=0`",
            130_000,
            kinds=("noop",),
        ),
        Setting(
            "threads, 100 at once, no results",
            "{bin}/penstock -A benchmarks.peers.penstock_app worker -c {c}",
            100,
            LATE,
            False,
            "threads, `result_ttl=0`, `-c 100`",
            200_000,
        ),
        Setting(
            "coroutines, 100 at once, no results",
            "{bin}/penstock -A benchmarks.peers.penstock_app worker -c {c}",
            100,
            LATE,
            False,
            "coroutines, `result_ttl=0`, `-c 100`",
            130_000,
        ),
    ),
    bulk="`delay_many`",
    environment=lambda: Path(sys.executable).parent,
    producer=("{bin}/python", "-m", "benchmarks.peers.produce", "benchmarks.peers.penstock_app"),
    versions=lambda programs: environments.own_versions(),
)
PEERS: tuple[Peer, ...] = (
    _python(
        "Celery",
        "celery",
        "time.sleep",
        "a group, which sends its messages one after another",
        Setting(
            "default",
            "{bin}/celery -A benchmarks.peers.celery_app worker",
            2,
            EARLY,
            False,
            "a parent and a process for each core",
            700,
        ),
        Setting(
            "results",
            "{bin}/celery -A benchmarks.peers.celery_app worker",
            2,
            EARLY,
            True,
            "the same with its Redis result backend",
            400,
            kinds=("noop",),
        ),
        Setting(
            "best",
            "{bin}/celery -A benchmarks.peers.celery_app worker -P threads -c {c}"
            " --without-gossip --without-mingle --without-heartbeat",
            10,
            EARLY,
            False,
            "threads, 64 fetched ahead for each, no gossip, mingle and heartbeat",
            900,
            napping=100,
            durable=True,
        ),
    ),
    _python(
        "RQ",
        "rq",
        "time.sleep",
        "`enqueue_many`",
        Setting(
            "default",
            "{bin}/rq worker --url {url}",
            1,
            EARLY,
            True,
            "a process forked for each job, results kept 500 s",
            90,
        ),
        Setting(
            "best",
            "{bin}/rq worker --url {url} -w rq.SimpleWorker --quiet --disable-job-desc-logging",
            1,
            EARLY,
            False,
            "`SimpleWorker`: no fork, one job at a time; `result_ttl=0`",
            700,
            durable=True,
        ),
    ),
)
ALL: tuple[Peer, ...] = (PENSTOCK, *PEERS)
