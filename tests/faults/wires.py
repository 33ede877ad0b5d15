"""A whole fleet behind a wire that is cut, stalled and reset again and again."""

from __future__ import annotations

import contextlib
import random
import signal
import time

from penstock.testing.proxy import ChaosProxy
from tests.faults import kills, verdict
from tests.faults.processes import LANES, Process, ready, worker
from tests.faults.site import Site
from tests.faults.verdict import Figures

_STALLS_S = 1.0


def run(site: Site, *, rounds: int, chance: random.Random) -> Figures:
    """Workers and a producer reach Redis through a proxy that cuts after a random number of bytes, in either direction.

    No lease is lost, so nothing runs twice, and everything succeeds.

    Args:
        site: The broker, which the final look reaches directly.
        rounds: How many cuts; every tenth is a stall of a second, which every lease and every call has to bear.
        chance: What chooses.
    """
    out, cuts = site.folder / "acks-0", 0
    with ChaosProxy(site.url) as proxy, contextlib.ExitStack() as stack:
        environment = site.environment(PENSTOCK_BROKER_URL=proxy.url)
        fleet = [stack.enter_context(worker(environment, app=LANES)) for _ in range(2)]
        for each in fleet:
            ready(each)
        command = [
            "-m",
            "tests.faults.producer",
            str(out),
            "w",
            "0",
            "0.005",
            "1",
            "on_thread=0.05",
            "on_loop=0.05",
            "tick",
        ]
        producer = stack.enter_context(Process(command, environment))
        for number in range(rounds):
            if number % 10 == 9:
                proxy.stall()
                time.sleep(_STALLS_S)
                proxy.flow()
                proxy.cut_all()
                cuts += 1
            else:
                replies = chance.random() < 0.6
                proxy.cut_after(chance.randrange(3_000), replies=replies, reset=chance.random() < 0.5)
                cuts += proxy.cut.wait(2.0)
            time.sleep(chance.uniform(0.0, 0.1))
        proxy.forget_cut()
        producer.signal(signal.SIGTERM)
        producer.wait_for("producer is done")
        kills.settle(site, [out], within_s=site.lease_s * 2 + 20)
        kills.no_bugs(fleet)
    figures = kills.judge(site, [out], [], rounds)
    assert figures.ran_twice == 0, figures
    assert cuts >= rounds // 2, f"only {cuts} of {rounds} cuts were made"
    assert not verdict.errors([out]), verdict.errors([out])[:3]
    figures.fault = "the wire of a whole fleet cut at random"
    return figures
