"""``python -m penstock.cli.demo.actor PARENT MODULE ...``: as ``python -m MODULE ...``, but it ends with its parent."""

from __future__ import annotations

import runpy
import sys

from penstock.runtime.orphan import die_with

if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
