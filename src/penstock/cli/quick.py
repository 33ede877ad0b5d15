"""The command line of a worker, read without click, which would cost every worker 1 MB and its start 20 ms.

Only what is right is read here. Anything else is left to click, which knows what to say about it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What each option gives, as words.py and worker.py have them.
_EVERYWHERE = {
    "-A": "reference", "--app": "reference",
    "-b": "broker_url", "--broker": "broker_url",
    "-l": "loglevel", "--loglevel": "loglevel",
}  # fmt: skip
_OF_A_WORKER = {
    "-Q": "queues", "--queues": "queues",
    "-c": "concurrency", "--concurrency": "concurrency",
    "--processes": "processes",
    "--grace": "grace",
    "--max-jobs-per-process": "max_jobs_per_process",
    "--max-memory-mb": "max_memory_mb",
}  # fmt: skip
_FLAGS = {"--burst": ("burst", True), "--guard": ("guard", True), "--no-guard": ("guard", False)}


def read(arguments: Sequence[str]) -> dict[str, str | bool] | None:
    """What a worker's command line says, by attribute and setting; None where it is not one, or is not all right."""
    found: dict[str, str | bool] = {}
    positional: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            positional.append(word)
        elif positional and word in _FLAGS:
            name, value = _FLAGS[word]
            found[name] = value
        else:
            taken = _value(word, rest, {**_EVERYWHERE, **_OF_A_WORKER} if positional else _EVERYWHERE)
            if taken is None:
                return None
            if taken[0] in found and taken[0] == "queues":
                return None
            found[taken[0]] = taken[1]
    match positional:
        case ["worker"]:
            return found
        case ["worker", reference] if found.get("reference", reference) == reference:
            return {**found, "reference": reference}
        case _:
            return None


def _value(word: str, rest: list[str], known: dict[str, str]) -> tuple[str, str] | None:
    """An option's name and value: ``--queues mail``, ``--queues=mail``, ``-Q mail`` or ``-Qmail``."""
    option, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
    if option not in known:
        return None
    if equals:
        return known[option], value
    return (known[option], rest.pop(0)) if rest else None
