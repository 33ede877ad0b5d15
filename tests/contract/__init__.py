"""The shipped contract and state machine, run on each broker.

``PENSTOCK_TEST_EXAMPLES`` sets how many random histories are played on each; the default takes well under a minute.
"""

from __future__ import annotations

import os

EXAMPLES = int(os.environ.get("PENSTOCK_TEST_EXAMPLES", "100"))
