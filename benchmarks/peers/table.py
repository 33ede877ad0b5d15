"""Which libraries there are, and how each is started: in its documented default, and in its best.

A setting called ``default`` is what a library's own documentation starts, with as many processes as it says. ``best``
is what its documentation recommends for throughput, for everybody with as many processes as measured best on two cores:
``scripts/bench peers --choose`` measures each number of ``choices`` and keeps the best in ``processes.json``. ``best,
10`` and ``best, 100`` are the same with so many jobs at once in all processes together, for jobs that wait. It is long
because it is one table.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from benchmarks.peers import environments
from benchmarks.peers.peer import EARLY, FAILS, LATE, WAITING, Peer, Setting

PROCESSES = Path(__file__).parent / "processes.json"
_CHOICES = (1, 2)
_CORES = os.cpu_count() or 1
_CHOSEN: dict[str, dict[str, dict[str, int]]] = (
    json.loads(PROCESSES.read_text()) if PROCESSES.exists() else {}
)


def _chosen(key: str, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """The settings with the numbers of processes that measured best."""
    kept = _CHOSEN.get(key, {})
    return tuple(replace(each, chosen=kept.get(each.name, {})) if each.choices else each for each in settings)


def _best(setting: Setting, *at_once: int) -> tuple[Setting, ...]:
    """The setting at no-op jobs, and at waiting ones with each of these numbers at once."""
    return (
        replace(setting, kinds=("noop",), durable=not setting.results, choices=_CHOICES),
        *(
            replace(
                setting, name=f"{setting.name}, {number}", concurrency=number, kinds=WAITING, choices=_CHOICES
            )
            for number in at_once
        ),
    )


def _python(name: str, key: str, sleep: str, bulk: str, *settings: Setting) -> Peer:
    return Peer(
        name,
        key,
        sleep,
        _chosen(key, settings),
        bulk,
        environment=lambda: environments.python(key),
        producer=("{bin}/python", "-m", "benchmarks.peers.produce", f"benchmarks.peers.{key}_app"),
        versions=lambda programs: environments.versions(key),
    )


_PENSTOCK = "{bin}/penstock -A benchmarks.peers.penstock_app worker"
_PENSTOCK_BEST = _PENSTOCK + " --processes {p} -c {c}"
PENSTOCK = Peer(
    "Penstock",
    "penstock",
    "time.sleep on threads, asyncio.sleep in coroutines",
    _chosen(
        "penstock",
        (
            Setting("default", _PENSTOCK, 10, LATE, True, "threads, results stored", 100_000),
            Setting(
                "no results", _PENSTOCK, 10, LATE, False, "threads, `result_ttl=0`", 200_000, kinds=("noop",)
            ),
            Setting("coroutines", _PENSTOCK, 10, LATE, True, "coroutines, results stored", 80_000),
            Setting(
                "coroutines, no results",
                _PENSTOCK,
                10,
                LATE,
                False,
                "coroutines, `result_ttl=0`",
                130_000,
                kinds=("noop",),
            ),
            *_best(
                Setting("best", _PENSTOCK_BEST, 10, LATE, False, "threads, `result_ttl=0`, uvloop", 200_000),
                10,
                100,
            ),
            *_best(
                Setting(
                    "best coroutines",
                    _PENSTOCK_BEST,
                    10,
                    LATE,
                    False,
                    "coroutines, `result_ttl=0`, uvloop",
                    130_000,
                ),
                10,
                100,
            ),
            *_best(
                Setting(
                    "best coroutines, stored",
                    _PENSTOCK_BEST,
                    10,
                    LATE,
                    True,
                    "coroutines, results stored, uvloop",
                    80_000,
                )
            ),
        ),
    ),
    bulk="`delay_many`",
    environment=lambda: environments.own("penstock"),
    producer=("{bin}/python", "-m", "benchmarks.peers.produce", "benchmarks.peers.penstock_app"),
    versions=lambda programs: environments.own_versions(),
    best_environment=lambda: environments.own("penstock-fast"),
)
_RQ_BEST = "{bin}/rq worker-pool -n {p} --url {url} -w rq.SimpleWorker --quiet"
PEERS: tuple[Peer, ...] = (
    _python(
        "Celery",
        "celery",
        "time.sleep",
        "a group, which sends its messages one after another",
        Setting(
            "default",
            "{bin}/celery -A benchmarks.peers.celery_app worker",
            _CORES,
            EARLY,
            False,
            "a parent and a worker process for each core",
            700,
            own=_CORES,
        ),
        Setting(
            "results",
            "{bin}/celery -A benchmarks.peers.celery_app worker",
            _CORES,
            EARLY,
            True,
            "the same with its Redis result backend",
            400,
            own=_CORES,
            kinds=("noop",),
        ),
        Setting(
            "late",
            "{bin}/celery -A benchmarks.peers.celery_app worker",
            _CORES,
            LATE,
            False,
            "the default with `task_acks_late` and `task_reject_on_worker_lost`",
            600,
            own=_CORES,
            kinds=("noop",),
        ),
        *_best(
            Setting(
                "best",
                "{bin}/celery -A benchmarks.peers.celery_app worker -P threads -c {c}"
                " --without-gossip --without-mingle --without-heartbeat",
                1,
                EARLY,
                False,
                "threads, 64 fetched ahead for each, no gossip, mingle and heartbeat",
                1500,
            ),
            10,
            100,
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
            FAILS,
            True,
            "a process forked for each job; results kept 500 s",
            90,
        ),
        *_best(
            Setting(
                "best",
                _RQ_BEST,
                1,
                FAILS,
                False,
                "`SimpleWorker`: no fork, a job at a time in each process; `result_ttl=0`",
                700,
            )
        ),
        # A process for each job at once: 100 of them would say more about memory than about jobs.
        Setting(
            "best, 10",
            _RQ_BEST,
            10,
            FAILS,
            False,
            "the same in a pool of 10",
            700,
            own=10,
            longer=4.0,
            kinds=WAITING,
        ),
    ),
    _python(
        "Dramatiq",
        "dramatiq",
        "time.sleep",
        "none",
        Setting(
            "default",
            "{bin}/dramatiq benchmarks.peers.dramatiq_app",
            8 * _CORES,
            LATE,
            False,
            "a parent and a process of 8 threads for each core",
            2800,
            own=_CORES,
        ),
        Setting(
            "results",
            "{bin}/dramatiq benchmarks.peers.dramatiq_app",
            8 * _CORES,
            LATE,
            True,
            "the same with its Redis result backend",
            1000,
            own=_CORES,
            kinds=("noop",),
        ),
        *_best(
            Setting(
                "best",
                "{bin}/dramatiq benchmarks.peers.dramatiq_app --processes {p} --threads {c}",
                1,
                LATE,
                False,
                "1,000 messages fetched ahead",
                6000,
                env={"dramatiq_queue_prefetch": "1000"},
            ),
            10,
            100,
        ),
    ),
    _python(
        "Taskiq",
        "taskiq",
        "asyncio.sleep",
        "none",
        Setting(
            "default",
            "{bin}/taskiq worker benchmarks.peers.taskiq_app:broker",
            200,
            LATE,
            False,
            "streams, a parent and two processes, uvloop",
            3500,
            own=2,
        ),
        Setting(
            "results",
            "{bin}/taskiq worker benchmarks.peers.taskiq_app:broker",
            200,
            LATE,
            True,
            "the same with its Redis result backend",
            1000,
            own=2,
            kinds=("noop",),
        ),
        *_best(
            Setting(
                "best",
                "{bin}/taskiq worker benchmarks.peers.taskiq_app:broker --workers {p} --log-level WARNING --no-parse"
                " --max-async-tasks {c} --max-prefetch 1000",
                100,
                LATE,
                False,
                "streams, 1,000 fetched at a time, no log of jobs, arguments not parsed",
                4000,
            ),
            10,
            100,
        ),
        Setting(
            "best, no acks",
            "{bin}/taskiq worker benchmarks.peers.taskiq_app:broker --workers {p} --log-level WARNING --no-parse"
            " --max-async-tasks {c} --max-prefetch 1000",
            100,
            EARLY,
            False,
            "a list in place of streams, else the same",
            4000,
            choices=_CHOICES,
            kinds=("noop",),
        ),
    ),
    _python(
        "ARQ",
        "arq",
        "asyncio.sleep",
        "none",
        Setting(
            "default",
            "{bin}/arq benchmarks.peers.arq_app.WorkerSettings",
            10,
            LATE,
            True,
            "results kept for an hour, polls every 0.5 s",
            150,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/arq benchmarks.peers.arq_app.WorkerSettings --custom-log-dict benchmarks.peers.arq_app.QUIET",
                100,
                LATE,
                False,
                "`keep_result=0`, `poll_delay=0.01`, no log of jobs, uvloop",
                2300,
            ),
            10,
            100,
        ),
    ),
    _python(
        "Huey",
        "huey",
        "time.sleep",
        "none",
        Setting(
            "default",
            "{bin}/huey_consumer benchmarks.peers.huey_app.huey",
            1,
            EARLY,
            True,
            "one thread, results kept until they are read",
            4500,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/huey_consumer benchmarks.peers.huey_app.huey --workers {c} --no-periodic --quiet",
                1,
                EARLY,
                False,
                "`results=False`, no periodic tasks, no log of jobs",
                7000,
            ),
            10,
            100,
        ),
    ),
    _python(
        "SAQ",
        "saq",
        "asyncio.sleep",
        "none",
        Setting(
            "default",
            "{bin}/saq benchmarks.peers.saq_app.settings",
            10,
            FAILS,
            True,
            "the job's record is kept for 10 minutes",
            2000,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/saq benchmarks.peers.saq_app.settings --quiet --workers {p}",
                100,
                FAILS,
                False,
                "`ttl=-1`, uvloop",
                3500,
            ),
            10,
            100,
        ),
    ),
    _python(
        "streaq",
        "streaq",
        "asyncio.sleep",
        "`enqueue_many`",
        Setting(
            "default",
            "{bin}/streaq run benchmarks.peers.streaq_app:worker",
            16,
            LATE,
            True,
            "results kept for 5 minutes",
            1000,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/streaq run benchmarks.peers.streaq_app:worker --workers {p}",
                32,
                LATE,
                False,
                "`ttl=0`, `silent=True`, 4 times as many fetched ahead, uvloop",
                1500,
            ),
            10,
            100,
        ),
    ),
    _python(
        "ardiq",
        "ardiq",
        "asyncio.sleep",
        "`enqueue_many`",
        Setting(
            "default",
            "{bin}/ardiq run benchmarks.peers.ardiq_app:app",
            16,
            LATE,
            True,
            "a core in Rust, results kept for 5 minutes",
            7000,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/ardiq run benchmarks.peers.ardiq_app:app --quiet --workers {p}",
                100,
                LATE,
                True,
                "4 times as many fetched ahead",
                13000,
            ),
        ),
        *_best(
            Setting(
                "best unstored",
                "{bin}/ardiq run benchmarks.peers.ardiq_app:app --quiet --workers {p}",
                100,
                LATE,
                False,
                "the same with `result_ttl_ms=0`",
                13000,
            ),
            10,
            100,
        ),
    ),
    Peer(
        "Sidekiq",
        "sidekiq",
        "sleep",
        _chosen(
            "sidekiq",
            (
                Setting(
                    "default",
                    "{bin}/sidekiq -r ./benchmarks/peers/sidekiq_app.rb",
                    10,
                    EARLY,
                    False,
                    "Ruby; 10 threads",
                    5000,
                ),
                *_best(
                    Setting(
                        "best",
                        "{bin}/sidekiq -r ./benchmarks/peers/sidekiq_app.rb -c {c}",
                        1,
                        EARLY,
                        False,
                        "no log of jobs",
                        15000,
                    ),
                    10,
                    100,
                ),
            ),
        ),
        bulk="`perform_bulk`",
        environment=environments.sidekiq,
        producer=("{bin}/ruby", "./benchmarks/peers/sidekiq_app.rb"),
        versions=environments.sidekiq_versions,
    ),
)
ALL: tuple[Peer, ...] = (PENSTOCK, *PEERS)
