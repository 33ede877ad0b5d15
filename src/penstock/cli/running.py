"""Runs an application's jobs in this process, or in several; what ``penstock worker`` does."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from penstock import __version__
from penstock.cli import connect
from penstock.cli.exits import ended
from penstock.cli.lines import prepare_streams
from penstock.cli.target import Target
from penstock.core import spec
from penstock.core.queue_list import QueueList, read_queue_list
from penstock.errors import ConfigError
from penstock.runtime.orphan import RELOADED, die_with
from penstock.settings import Settings, unsaid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.app import Penstock
    from penstock.runtime.guard import Pulse
    from penstock.runtime.heartbeat import Heartbeat
    from penstock.runtime.worker_settings import WorkerSettings

log: logging.Logger = logging.getLogger("penstock.worker")


def run(target: Target) -> int:
    """Runs the worker that a command line describes until it is stopped; returns the exit code.

    Raises:
        ConfigError: The application cannot be loaded, or a setting cannot work.
    """
    watched = target.given.pop("reload_dirs", ())
    if target.given.pop("reload", False):
        return run_reloading(target, watched)
    if watched:
        raise ConfigError("--reload-dir says what --reload watches; give that too")
    reloader = os.environ.pop(RELOADED, "")
    if reloader:
        die_with(int(reloader))
    burst = bool(target.given.pop("burst", False))
    queues: str | None = target.given.get("queues")
    if queues is not None:
        read_queue_list(queues)  # before the application is imported
    pulse = target.pulse
    supervised = pulse is not None and pulse.supervised
    if supervised:
        unsaid()
    app = target.app()
    if app.in_process:
        raise ConfigError(
            f"{app.address.shown()} lives inside one process: a worker here would never see a job that another "
            "enqueues; use sqlite:///FILE or redis://HOST"
        )
    set_up_output(app.settings["loglevel"])
    settings = worker_settings(app, burst=burst)
    settings.command_line = target.command_line
    settings.supervised = supervised
    if reloader:
        from penstock.cli.reloading import GRACE_S

        settings.grace_s = min(settings.grace_s, GRACE_S)
    if not supervised:
        say_hello(app, settings)
        warn_unused(app, settings.queues)
    # Who replaces a worker process must be another one.
    several = not supervised and (app.settings.says("processes") or any(settings.limits))
    if pulse is not None and (several or not (app.settings["guard"] or pulse.supervised)):
        pulse.close()
        pulse = None
    return run_processes(app, settings) if several else run_worker(app, settings, pulse)


def run_reloading(target: Target, folders: Sequence[str]) -> int:
    """Runs a worker as a child, and another whenever a Python file has changed; returns the exit code."""
    from penstock.cli.reloading import run, without_reload

    if target.pulse is not None:
        target.pulse.close()
    if target.reference is None:
        raise ConfigError("which application? name it: penstock -A MODULE worker --reload")
    set_up_output(Settings(Path.cwd(), None, target.command_line)["loglevel"])
    argv = [sys.executable, "-m", "penstock", *without_reload(sys.argv[1:])]
    return run(argv, target.reference, folders)


def run_quick(found: dict[str, str | bool], pulse: Pulse | None) -> int:
    """Runs the worker whose command line ``quick.py`` has read; returns the exit code of this process."""
    target = Target(pulse)
    for name, value in found.items():
        if name in {"reference", "broker_url", "loglevel"}:
            setattr(target, name, value)
        else:
            target.given[name] = value
    return ended(target, lambda: run(target))


def worker_settings(app: Penstock, *, burst: bool) -> WorkerSettings:
    """How the worker of ``app`` is to run, from its settings."""
    from penstock.runtime.limits import Limits
    from penstock.runtime.worker_settings import WorkerSettings

    settings = app.settings
    queues = read_queue_list(settings["queues"]) if settings["queues"] else QueueList(queues_of(app))
    return WorkerSettings(
        queues=queues.names,
        weights=queues.weights,
        concurrency=settings["concurrency"],
        lease_s=settings["lease"],
        grace_s=settings["grace"],
        max_crashes=settings["max_crashes"],
        burst=burst,
        limits=Limits(settings["max_jobs_per_process"], settings["max_memory_mb"]),
        strict=settings["strict"],
        app_name=app.name,
        app_reference=app.reference,
        version=__version__,
        broker_source=settings.url_source,
    )


def run_worker(app: Penstock, settings: WorkerSettings, pulse: Pulse | None) -> int:
    """Runs one worker on this thread until it is stopped; returns the exit code."""
    from penstock.runtime.worker import Worker

    heartbeat = open_heartbeat(app, settings)
    unseen = pulse is not None and pulse.supervised

    def on_beat(longest_s: float | None) -> None:
        nonlocal unseen
        if pulse is not None:
            pulse.beat(longest_s)
            if unseen:  # now that all is loaded, and hardly anything has run
                unseen = False
                too_small = settings.limits.too_small("a worker process of this application")
                if too_small:
                    pulse.warn(too_small)
        if heartbeat is not None:
            heartbeat.beat(worker.state)

    worker = Worker(
        app.tasks,
        app.connect,
        settings,
        on_unknown=lambda name: warn_unknown(app, name),
        on_beat=on_beat,
        on_worn=lambda why: None if pulse is None else pulse.ask_for_successor(why),
        middlewares=app.middlewares,
        hooks=app.hooks,
    )
    if pulse is not None:
        pulse.introduce(app.address, settings.consumer_id, settings.queues, settings.lease_s)
    try:
        return worker.run()
    finally:
        if heartbeat is not None:
            heartbeat.end()


def open_heartbeat(app: Penstock, settings: WorkerSettings) -> Heartbeat | None:
    """Where the worker says for ``penstock health`` that it lives; None where there is no place that nobody asked for.

    Raises:
        ConfigError: The folder that the settings name cannot be written.
    """
    from penstock.runtime.heartbeat import Heartbeat, open_folder

    given: str = app.settings["run_dir"]
    try:
        folder = open_folder(given)
    except ConfigError as error:
        if given:
            raise ConfigError(f"run_dir (PENSTOCK_RUN_DIR): {error}") from error
        log.info("penstock health cannot see this worker (%s); set PENSTOCK_RUN_DIR to a folder that it may write",
                 error)  # fmt: skip
        return None
    told = {
        "id": settings.consumer_id,
        "app": app.name,
        "broker": app.address.shown(),
        "lease_s": settings.lease_s,
    }
    return Heartbeat(folder, told, lambda line: log.warning("%s", line), private=not given)


def run_processes(app: Penstock, settings: WorkerSettings) -> int:
    """Runs several worker processes under a supervisor until it is stopped; returns the exit code."""
    from penstock.runtime.supervisor import run

    argv = [sys.executable, "-m", "penstock", *sys.argv[1:], "--processes", "1"]
    if settings.grace_s != app.settings["grace"]:  # under --reload
        argv += ["--grace", f"{settings.grace_s:g}"]
    processes: int = app.settings["processes"]
    return run(
        argv,
        processes,
        grace_s=settings.grace_s,
        connect=connect,
        guard=app.settings["guard"],
        has_children=any(task.lane is spec.Lane.PROCESS for task in app.tasks.values()),
    )


def queues_of(app: Penstock) -> list[str]:
    """The queues of an application's tasks, in the order of their declaration, and its default queue."""
    return spec.queues_of(app.tasks.values(), app.default_queue)


def set_up_output(level: str) -> None:
    """Standard output by the line, and the log on it, unless the application has set up logging itself."""
    prepare_streams(line_buffered=True)
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=level.upper(), stream=sys.stdout, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        )
    logging.getLogger("penstock").setLevel(level.upper())


def say_hello(app: Penstock, settings: WorkerSettings) -> None:
    """What is about to run, and where."""
    processes: int = app.settings["processes"]
    print(f"penstock {__version__}  {app.name} ({app.reference})")
    print(f"  broker       {app.address.shown()}")
    print(f"  queues       {settings.queue_list}")
    print(
        f"  concurrency  {settings.concurrency}"
        + (f" in each of {processes} processes" if processes > 1 else "")
    )
    print(f"  tasks        {_names(list(app.tasks))}", flush=True)


def warn_unused(app: Penstock, queues: Sequence[str]) -> None:
    """Says which queues none of the application's tasks names: mostly a slip of the pen."""
    own = queues_of(app)
    unused = [queue for queue in queues if queue not in own]
    if unused:
        log.warning("no task here uses %s %s: only jobs come from there that name it themselves, as "
                    "options(queue=...) does; the tasks here use %s", "queues" if len(unused) > 1 else "queue",
                    _names(unused), _names(own))  # fmt: skip


def _names(names: Sequence[str], most: int = 8) -> str:
    if not names:
        return "none; are the modules imported that define them?"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def warn_unknown(app: Penstock, name: str) -> None:
    """Says what to do about jobs of a task that this worker does not know."""
    from penstock.cli.unknown import advice

    log.warning("no task %r here, so its jobs wait; %s", name, advice(app, name))
