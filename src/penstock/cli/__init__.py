"""The command line. Nothing is imported here: a worker's guard is forked before anything that takes memory."""

from __future__ import annotations


def main() -> None:
    """Runs ``penstock`` with the arguments of this process; ends it with the command's exit code."""
    import sys

    from penstock.cli.program import run

    sys.exit(run(sys.argv[1:]))
