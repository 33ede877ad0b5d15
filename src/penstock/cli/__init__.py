"""The command line. Nothing is imported here: a worker's guard is forked before anything that takes memory."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from penstock.ports.broker import BlockingProducer


def main() -> None:
    """Runs ``penstock`` with the arguments of this process; ends it with the command's exit code."""
    import sys

    arguments, pulse = sys.argv[1:], None
    if "worker" in arguments:
        from penstock.runtime.guard import fork_guard

        pulse = fork_guard(connect, wanted="--no-guard" not in arguments)

        from penstock.cli.quick import read

        found = read(arguments)
        if found is not None:
            from penstock.cli.running import run_quick

            sys.exit(run_quick(found, pulse))

    from penstock.cli.program import run

    code = run(arguments, pulse)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has gone; the interpreter must not try once more
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)


def connect(url: str, scheme: str, namespace: str) -> BlockingProducer:
    """What a guard or a supervisor beats through; imported when it must."""
    from penstock.brokers import Address, connect_blocking

    return connect_blocking(Address(url, scheme, namespace))
