"""A process that was started for another ends with it, however that one ends."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Final

# How a worker is told the process id of the watcher that it ends with (--reload).
RELOADED: Final = "PENSTOCK_RELOADED"
_LOOK_EVERY_S: Final = 0.5
_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9


def die_with(parent: int) -> None:
    """Makes this process end within a second of its parent's end, even while a call holds the GIL (on Linux).

    On Linux the kernel kills it; elsewhere a thread looks for the parent now and then.

    Args:
        parent: The process id of the parent, which may have ended already.
    """
    if sys.platform == "linux":
        import ctypes

        # Sent when the *thread* that started us ends: whoever starts us does so on a thread that lives as long as it.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_look, args=(parent,), name="penstock-orphan", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _look(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)
