"""Which libraries and settings the faults are tried on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.peers import environments
from benchmarks.peers.peer import Peer
from benchmarks.peers.table import ALL

RUBBISH = b"\xff\xfenot-a-message\x00"
_APPS = "tests.soak.peers.apps"
_PEERS = {peer.key: peer for peer in ALL}


@dataclass(frozen=True, slots=True)
class System:
    """One library in one setting.

    Attributes:
        key: The library's, as ``benchmarks.peers`` calls it; its application is ``apps/KEY_app.py``.
        setting: ``default``, ``safe``, or a name that its application knows; read as ``PEERS_SETTING``.
        about: What the setting is, for the page.
        worker: The worker's command line; ``{bin}`` is the environment's folder of programs, ``{url}`` the server.
        child: Whether jobs run in a process below the one that was started.
        damage: Puts ``RUBBISH`` in place of the body of the one message that is in the broker.
        tear: Puts ``RUBBISH`` in place of that message's envelope too, where its transport has one around the body.
        delays: A further process that delayed jobs need.
        waits: Options that its worker needs for delayed jobs.
    """

    key: str
    setting: str
    about: str
    worker: str
    child: bool
    damage: Callable[[Any], None]
    tear: Callable[[Any], None] | None = None
    delays: str = ""
    waits: str = ""

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return f"{self.key}-{self.setting}"

    @property
    def peer(self) -> Peer:
        """The library, with its environment."""
        return _PEERS[self.key]

    def versions(self, programs: Path) -> str:
        """Of what its environment is made. The settings here have nothing that only the best of a benchmark has."""
        return environments.plain_versions() if self.key == "penstock" else self.peer.versions(programs)

    @property
    def app(self) -> str:
        """Its application's module."""
        return f"{_APPS}.{self.key}_app"


def _penstock(redis: Any) -> None:
    (key,) = [key for key in redis.scan_iter("*") if key.endswith(b"jobs")]
    redis.hset(key, redis.hkeys(key)[0], RUBBISH)


def _celery(redis: Any) -> None:
    """Celery's envelope as it was, and in it rubbish: the outer form is that of its transport."""
    message = json.loads(redis.rpop("celery"))
    redis.lpush("celery", json.dumps(message | {"body": base64.b64encode(RUBBISH).decode()}))


def _celery_whole(redis: Any) -> None:
    redis.lset("celery", 0, RUBBISH)


def _dramatiq(redis: Any) -> None:
    key = "dramatiq:default.msgs"
    redis.hset(key, redis.hkeys(key)[0], RUBBISH)


def _taskiq_stream(redis: Any) -> None:
    ((id, _),) = redis.xrange("taskiq")
    redis.xdel("taskiq", id)
    redis.xadd("taskiq", {"data": RUBBISH})


def _taskiq_list(redis: Any) -> None:
    redis.lset("taskiq", 0, RUBBISH)


def _rq(redis: Any) -> None:
    (key,) = redis.scan_iter("rq:job:*")
    redis.hset(key, "data", RUBBISH)


def _huey(redis: Any) -> None:
    (key,) = [key for key in redis.scan_iter("*") if redis.type(key) == b"list"]
    redis.lset(key, 0, RUBBISH)


_PENSTOCK = "{bin}/penstock -A tests.soak.peers.apps.penstock_app worker -c 4"
_CELERY = "{bin}/celery -A tests.soak.peers.apps.celery_app worker -c 4"
_DRAMATIQ = "{bin}/dramatiq tests.soak.peers.apps.dramatiq_app --processes 1 --threads 4"
_TASKIQ = "{bin}/taskiq worker tests.soak.peers.apps.taskiq_app:broker --workers 1 --max-async-tasks 4"
_SCHEDULER = "{bin}/taskiq scheduler tests.soak.peers.apps.taskiq_app:scheduler"
_RQ = "{bin}/rq worker --url {url}"
_HUEY = "{bin}/huey_consumer tests.soak.peers.apps.huey_app.huey -w 4"

SYSTEMS: tuple[System, ...] = (
    System("penstock", "default", "as it stands; the lease is 15 s", _PENSTOCK, False, _penstock),
    System(
        "celery",
        "default",
        "as it stands: acknowledged as a job begins; what was fetched ahead comes back after an hour",
        _CELERY,
        True,
        _celery,
        tear=_celery_whole,
    ),
    System(
        "celery",
        "safe",
        "`acks_late`, `reject_on_worker_lost`, prefetch 1, `visibility_timeout` 10 s, `unacked_restore_throttle` 1",
        _CELERY,
        True,
        _celery,
        tear=_celery_whole,
    ),
    System(
        "dramatiq",
        "default",
        "as it stands: acknowledged as a job has ended; dead workers (60 s) are looked for by one command in 1,000",
        _DRAMATIQ,
        True,
        _dramatiq,
    ),
    System(
        "dramatiq",
        "safe",
        "`heartbeat_timeout` 10 s, `maintenance_chance` 1,000,000",
        _DRAMATIQ,
        True,
        _dramatiq,
    ),
    System(
        "taskiq",
        "list",
        "`ListQueueBroker`, which has no acknowledgements; its scheduler looks once a minute, as in the default",
        _TASKIQ,
        True,
        _taskiq_list,
        delays=_SCHEDULER,
    ),
    System(
        "taskiq",
        "default",
        "`RedisStreamBroker` as it stands: acknowledged as a job has ended; comes back after 10 minutes",
        _TASKIQ,
        True,
        _taskiq_stream,
        delays=_SCHEDULER,
    ),
    System(
        "taskiq",
        "safe",
        "`RedisStreamBroker`, `idle_timeout` 10 s, `unacknowledged_lock_timeout` 5 s, `--update-interval 1`",
        _TASKIQ,
        True,
        _taskiq_stream,
        delays=_SCHEDULER + " --update-interval 1",
    ),
    System(
        "rq",
        "default",
        "as it stands: a lost job is marked as failed; looked for every 10 minutes",
        _RQ,
        True,
        _rq,
        waits="--with-scheduler",
    ),
    System(
        "rq",
        "safe",
        "`Retry(max=3)`, `--with-scheduler --maintenance-interval 5 --job-monitoring-interval 5 --worker-ttl 30`",
        _RQ + " --with-scheduler --maintenance-interval 5 --job-monitoring-interval 5 --worker-ttl 30",
        True,
        _rq,
    ),
    System("huey", "default", "as it stands: off the list before a job runs", _HUEY, False, _huey),
    System("huey", "safe", "`retries=3`, `SignedSerializer`", _HUEY, False, _huey),
)


def client(url: str) -> Any:
    """A connection that gives up soon. Untyped: what redis-py returns depends on what it is asked."""
    return Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
