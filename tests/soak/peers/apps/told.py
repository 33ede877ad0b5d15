"""What the driver tells an application, over the environment. Standard library only."""

from __future__ import annotations

import os

REDIS_URL = os.environ.get("PEERS_REDIS_URL", "redis://127.0.0.1:6379/0")
SAFE = os.environ.get("PEERS_SETTING", "default") == "safe"
# Where the fault is a wait longer than the timeout, every timeout that is a setting is so short, also in the default.
SHORT = SAFE or os.environ.get("PEERS_SHORT", "") == "yes"
TIMEOUT_S = 10
