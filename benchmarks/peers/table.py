"""Which libraries there are, and how each is started: in its documented default, and in its best.

A setting called ``default`` is what a library's own documentation starts, with as many processes as it says. ``best``
is what its documentation recommends for throughput, for everybody with as many processes and jobs at once as measured
best: ``scripts/bench peers --choose`` measures each of ``choices`` and keeps the best in ``chosen.json``. Among them is
one with at least as many at once as its default has, one process, and one for each core. ``best, 10`` and ``best, 100``
are the same with so many jobs at once in all processes together, for jobs that wait: what they come to is that number,
so it is the same for all, and only the processes are chosen. It is long because it is one table.
"""

from __future__ import annotations

import os
from dataclasses import replace

from benchmarks.peers import chosen, environments
from benchmarks.peers.peer import EARLY, FAILS, LATE, WAITING, Choice, Peer, Setting

_CORES = os.cpu_count() or 1
_CHOSEN = chosen.load()


def _chosen(key: str, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """The settings with what measured best."""
    return tuple(replace(each, chosen=chosen.of(_CHOSEN, key, each.name)) for each in settings)


def _of(*choices: tuple[int, int]) -> tuple[Choice, ...]:
    """Each once: on one core, some are the same."""
    return tuple(dict.fromkeys(Choice(*each) for each in choices))


def _best(setting: Setting, *at_once: int) -> tuple[Setting, ...]:
    """The setting at no-op jobs, and at waiting ones with each of these numbers at once."""
    return (
        replace(setting, kinds=("noop",), durable=not setting.results),
        *(
            replace(
                setting,
                name=f"{setting.name}, {number}",
                choices=_of((1, number), (_CORES, number)),
                kinds=WAITING,
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
_THREADS = _of((1, 10), (_CORES, 10), (_CORES, 20), (1, 50))
_COROUTINES = _of((1, 10), (_CORES, 10), (1, 200), (_CORES, 400))
PENSTOCK = Peer(
    "Penstock",
    "penstock",
    "time.sleep on threads, asyncio.sleep in coroutines",
    _chosen(
        "penstock",
        (
            Setting("default", _PENSTOCK, _of((1, 10)), LATE, True, "threads, results stored", 100_000),
            Setting(
                "no results",
                _PENSTOCK,
                _of((1, 10)),
                LATE,
                False,
                "threads, `result_ttl=0`",
                200_000,
                kinds=("noop",),
            ),
            Setting("coroutines", _PENSTOCK, _of((1, 10)), LATE, True, "coroutines, results stored", 80_000),
            Setting(
                "coroutines, no results",
                _PENSTOCK,
                _of((1, 10)),
                LATE,
                False,
                "coroutines, `result_ttl=0`",
                130_000,
                kinds=("noop",),
            ),
            *_best(
                Setting(
                    "best", _PENSTOCK_BEST, _THREADS, LATE, False, "threads, `result_ttl=0`, uvloop", 200_000
                ),
                10,
                100,
            ),
            *_best(
                Setting(
                    "best coroutines",
                    _PENSTOCK_BEST,
                    _COROUTINES,
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
                    _COROUTINES,
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
_TASKIQ = _of((_CORES, 200), (1, 100), (_CORES, 100), (_CORES, 400))
_ARDIQ = _of((_CORES, 200), (1, 100), (_CORES, 100), (_CORES, 400), (_CORES, 800))
PEERS: tuple[Peer, ...] = (
    _python(
        "Celery",
        "celery",
        "time.sleep",
        "`group`: its messages are sent one after another",
        Setting(
            "default",
            "{bin}/celery -A benchmarks.peers.celery_app worker",
            _of((_CORES, _CORES)),
            EARLY,
            False,
            "a parent and a worker process for each core",
            700,
        ),
        Setting(
            "results",
            "{bin}/celery -A benchmarks.peers.celery_app worker",
            _of((_CORES, _CORES)),
            EARLY,
            True,
            "the same with its Redis result backend",
            400,
            kinds=("noop",),
        ),
        Setting(
            "late",
            "{bin}/celery -A benchmarks.peers.celery_app worker",
            _of((_CORES, _CORES)),
            LATE,
            False,
            "the default with `task_acks_late` and `task_reject_on_worker_lost`",
            600,
            kinds=("noop",),
        ),
        *_best(
            Setting(
                "best",
                "{bin}/celery -A benchmarks.peers.celery_app worker -P threads -c {c}"
                " --without-gossip --without-mingle --without-heartbeat",
                _of((_CORES, _CORES), (1, 1), (1, 4), (_CORES, 4 * _CORES)),
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
            _of((1, 1)),
            FAILS,
            True,
            "a process forked for each job; results kept 500 s",
            90,
        ),
        *_best(
            Setting(
                "best",
                _RQ_BEST,
                _of((1, 1), (_CORES, _CORES), (2 * _CORES, 2 * _CORES)),
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
            _of((10, 10)),
            FAILS,
            False,
            "the same in a pool of 10",
            700,
            longer=4.0,
            kinds=WAITING,
        ),
    ),
    _python(
        "Dramatiq",
        "dramatiq",
        "time.sleep",
        "`group`: its messages are sent one after another",
        Setting(
            "default",
            "{bin}/dramatiq benchmarks.peers.dramatiq_app",
            _of((_CORES, 8 * _CORES)),
            LATE,
            False,
            "a parent and a process of 8 threads for each core",
            2800,
        ),
        Setting(
            "results",
            "{bin}/dramatiq benchmarks.peers.dramatiq_app",
            _of((_CORES, 8 * _CORES)),
            LATE,
            True,
            "the same with its Redis result backend",
            1000,
            kinds=("noop",),
        ),
        *_best(
            Setting(
                "best",
                "{bin}/dramatiq benchmarks.peers.dramatiq_app --processes {p} --threads {c}",
                _of((_CORES, 8 * _CORES), (1, 8), (1, 1), (_CORES, _CORES)),
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
            _of((2, 200)),
            LATE,
            False,
            "streams, a parent and two processes, uvloop",
            3500,
        ),
        Setting(
            "results",
            "{bin}/taskiq worker benchmarks.peers.taskiq_app:broker",
            _of((2, 200)),
            LATE,
            True,
            "the same with its Redis result backend",
            1000,
            kinds=("noop",),
        ),
        *_best(
            Setting(
                "best",
                "{bin}/taskiq worker benchmarks.peers.taskiq_app:broker --workers {p} --log-level WARNING --no-parse"
                " --max-async-tasks {c} --max-prefetch 1000",
                _TASKIQ,
                LATE,
                False,
                "streams, 1,000 fetched at a time, no log of jobs, arguments not parsed",
                7000,
            ),
            10,
            100,
        ),
        Setting(
            "best, no acks",
            "{bin}/taskiq worker benchmarks.peers.taskiq_app:broker --workers {p} --log-level WARNING --no-parse"
            " --max-async-tasks {c} --max-prefetch 1000",
            _TASKIQ,
            EARLY,
            False,
            "a list in place of streams, else the same",
            8000,
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
            _of((1, 10)),
            LATE,
            True,
            "results kept for an hour, polls every 0.5 s",
            150,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/arq benchmarks.peers.arq_app.WorkerSettings --custom-log-dict benchmarks.peers.arq_app.QUIET",
                _of((1, 100), (_CORES, 100), (1, 50), (1, 200)),
                LATE,
                False,
                "`keep_result=0`, `poll_delay=0.01`, no log of jobs, uvloop",
                3000,
            ),
            10,
            100,
        ),
    ),
    _python(
        "Huey",
        "huey",
        "time.sleep",
        "`map`: its messages are sent one after another",
        Setting(
            "default",
            "{bin}/huey_consumer benchmarks.peers.huey_app.huey",
            _of((1, 1)),
            EARLY,
            True,
            "one thread, results kept until they are read",
            4500,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/huey_consumer benchmarks.peers.huey_app.huey --workers {c} --no-periodic --quiet",
                _of((1, 1), (_CORES, _CORES), (1, 4), (_CORES, 4 * _CORES)),
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
            _of((1, 10)),
            FAILS,
            True,
            "the job's record is kept for 10 minutes",
            2000,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/saq benchmarks.peers.saq_app.settings --quiet --workers {p}",
                _of((1, 100), (_CORES, 100), (_CORES, 20), (_CORES, 200)),
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
            _of((1, 16)),
            LATE,
            True,
            "results kept for 5 minutes",
            1000,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/streaq run benchmarks.peers.streaq_app:worker --workers {p}",
                _of((1, 32), (_CORES, 32), (_CORES, 64), (_CORES, 200)),
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
            _of((1, 16)),
            LATE,
            True,
            "a core in Rust, results kept for 5 minutes",
            7000,
        ),
        *_best(
            Setting(
                "best",
                "{bin}/ardiq run benchmarks.peers.ardiq_app:app --quiet --workers {p}",
                _ARDIQ,
                LATE,
                True,
                "4 times as many fetched ahead",
                22000,
            ),
        ),
        *_best(
            Setting(
                "best unstored",
                "{bin}/ardiq run benchmarks.peers.ardiq_app:app --quiet --workers {p}",
                _ARDIQ,
                LATE,
                False,
                "the same with `result_ttl_ms=0`",
                22000,
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
                    _of((1, 10)),
                    EARLY,
                    False,
                    "Ruby; 10 threads",
                    5000,
                ),
                *_best(
                    Setting(
                        "best",
                        "{bin}/sidekiq -r ./benchmarks/peers/sidekiq_app.rb -c {c}",
                        _of((1, 10), (1, 1), (_CORES, _CORES), (1, 5), (_CORES, 5 * _CORES)),
                        EARLY,
                        False,
                        "no log of jobs; hiredis and YJIT where the versions above have them",
                        28000,
                        # What a Ruby without it does not know, it does not read.
                        env={"RUBY_YJIT_ENABLE": "1"},
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
