"""``penstock demo``: the whole story on one machine, with real HTTP, a real worker and real mail."""

from __future__ import annotations

from importlib.util import find_spec

import click

from penstock.cli.target import Target
from penstock.errors import ConfigError


@click.command()
@click.option(
    "-b", "--broker", metavar="URL", help="Instead of a SQLite file, such as redis://localhost:6379/0."
)
@click.option("--once", is_flag=True, help="Sign up without a person, check all of it, and end.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Of the web page [a free one].")
@click.pass_obj
def command(target: Target, /, broker: str | None, once: bool, port: int) -> int:
    """Watch a sign-up answer at once and its mail follow in the background.

    Starts a mail server, the application examples/welcome and a worker, with their files in a temporary folder, on a
    SQLite file or the broker that -b names. Everything is stopped at the end.
    """
    if target.reference is not None:
        raise click.UsageError("the demo has an application of its own: leave -A away")
    missing = [name for name in ("flask", "aiosmtpd") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the demo needs {' and '.join(missing)}: pip install 'penstock[demo]'")
    from penstock.cli.demo.story import tell

    return tell(broker or target.broker_url, port, once=once)
