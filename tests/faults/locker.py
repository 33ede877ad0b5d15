"""Holds everybody up in an SQLite file, as a process does that is stopped in the middle of a write.

    python -m tests.faults.locker FILE

It says ``locked`` when it has the file, and lets go when it is killed, or by itself after SIGUSR1.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys

import apsw


def main() -> None:
    path = sys.argv[1]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    turn = os.open(f"{path}-write", os.O_RDWR | os.O_CREAT)
    fcntl.flock(turn, fcntl.LOCK_EX)
    connection = apsw.Connection(path)
    connection.set_busy_timeout(10_000)
    connection.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    signal.sigwait([signal.SIGUSR1])
    connection.execute("ROLLBACK")
    connection.close()


if __name__ == "__main__":
    main()
