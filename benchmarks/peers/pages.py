"""The section of ``docs/benchmarks.md`` and the plots, from what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import TIMES, say
from benchmarks.peers import environments, plot
from benchmarks.peers.peer import KINDS, Peer, Setting
from benchmarks.peers.results import DURABILITIES, Case, Results
from benchmarks.peers.table import ALL, PEERS, PENSTOCK

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
_AIM = 5.0

_HOW = """\
Written by `{command}` in {minutes:.0f} min. Each library runs in an environment of its own, all on one Redis server.
Jobs are enqueued beforehand; a worker is started anew for each run and drains them. A job writes the moment of its end,
and how often it ran, to a place of its own in a file that all processes share, and the rate is the number of jobs over
the time from the first one's end to the last one's end, where jobs wait from the first one's start: no library's own
counters are asked. A run in which a job ran twice or was missed has no figure; it is told at the end, and tried again
once. All systems take turns, for {rounds} rounds, each of which begins with another one; figures are medians, with the
smallest and the largest run, and with how many there are where a round has none. The number of jobs is chosen so that a
run takes about {run_s:g} s, and {wait_s:g} s where jobs wait (with RQ's pool of 10, whose start is slow, four times
that); a longer one is cut after {cut_s:g} s, and its rate is what was done until then.

- *Setting*: `default` is what a library's documentation starts, with as many processes as it says. `best` is what its
  documentation recommends for throughput, with as many worker processes and jobs at once as measured best for it among
  two to five candidates (`scripts/bench peers --choose`, Penstock by the same rule; `benchmarks/peers/chosen.json` has
  the rates of all): {chosen}. Where a library has no option for processes, its worker is started as many times. `best,
  10` and `best, 100` are the same with so many jobs at once in all, the processes alone chosen.
- *At once*: how many jobs can run at the same time, in all worker processes together.
- {hiredis} have hiredis in all their settings, whether they install it themselves or not: redis-py takes it where it
  finds it. {uvloop} have uvloop installed: Taskiq starts it by itself in all its settings, the others run with it in
  their `best` ones only, as Penstock does. ardiq has none: its command line starts the loop of asyncio.
- *Ack*: `early` means that the message is gone before its job has run, so that `kill -9` loses the job. `late` means
  that it is kept until the job has run, so that another worker runs it again. `fails` means that the job of a killed
  worker is found and marked as failed, but not run again unless it was enqueued with retries.
- *Beside it*: how many times as fast Penstock is in the same run, in the setting that does the same: `best` beside
  `best`, results stored or not, threads beside libraries of threads and processes, coroutines beside those of
  coroutines. Where jobs wait there is such a figure only at the same number of jobs at once. Below 1, it is slower.
- *Memory*: the most of all its processes together. Pages that forked processes share count in each.
- *First job*: from the start of the process to the end of its first job, where jobs wait to its start.
- *Its bulk call*: a `group` or `map` that sends its messages one after another counts as one too, and is named as such.
- Penstock runs as `penstock worker` does without options, its guard included; its `best` with `--processes` and `-c`.
"""
_NAMES = {
    "noop": "No-op jobs",
    "1 ms": "Jobs that wait 1 ms",
    "10 ms": "Jobs that wait 10 ms",
}
_PLOTS = {"noop": "peers-noop", "1 ms": "peers-1ms", "10 ms": "peers-10ms"}
# By whether jobs are coroutines, and whether results are stored.
_BEST = {(False, False): "best", (True, False): "best coroutines", (True, True): "best coroutines, stored"}
_WAYS = {"one": "one by one", "many": "many at once"}


def beside(peer: Peer, setting: Setting, kind: str) -> Setting | None:
    """Penstock's setting that does the same; None where it has none with as many jobs at once, and jobs wait."""
    coroutines = "asyncio" in peer.sleep
    if kind != "noop":
        name = ("best coroutines" if coroutines else "best") if setting.best else ""
        at_once = setting.at_once(kind)
        if name:
            return next((each for each in PENSTOCK.settings if each.name == f"{name}, {at_once}"), None)
        ours = PENSTOCK.setting("coroutines" if coroutines else "default")
        return ours if ours.at_once(kind) == at_once else None
    if setting.best:
        return PENSTOCK.setting(_BEST[coroutines, setting.results])
    if setting.results:
        return PENSTOCK.setting("coroutines" if coroutines else "default")
    return PENSTOCK.setting("coroutines, no results" if coroutines else "no results")


def _settings(kind: str) -> Iterator[tuple[Peer, Setting]]:
    for peer in ALL:
        for setting in peer.settings:
            if kind in setting.kinds:
                yield peer, setting


def _beside(peer: Peer, setting: Setting, kind: str, durability: str = "none") -> Case | None:
    ours = None if peer is PENSTOCK else beside(peer, setting, kind)
    return None if ours is None else Case(PENSTOCK.key, ours.name, kind, durability)


def _rate(results: Results, case: Case) -> str:
    figures = results.samples.get(case, {})
    if not figures.get("rate"):
        return "no figure" if case in results.failed else ""
    rates = figures["rate"]
    cut = ", cut" if any(figures.get("cut", ())) else ""
    fewer = f", {len(rates)} of {results.rounds} rounds" if len(rates) < results.rounds else ""
    return f"{results.middle(case) or 0:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}{cut}{fewer})"


def _ratio(results: Results, case: Case, ours: Case | None) -> float | None:
    theirs, own = results.middle(case), results.middle(ours) if ours else None
    return own / theirs if theirs and own and case.peer != PENSTOCK.key else None


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{plot.figure(ratio)} {TIMES}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*names: str) -> Iterator[str]:
    yield _line(*names)
    yield "|---" * len(names) + "|"


def _drained(results: Results, kind: str) -> Iterator[str]:
    yield from _head(
        "library",
        "setting",
        "processes",
        "at once",
        "ack",
        "results",
        "jobs/s",
        "beside it",
        "memory",
        "first job",
    )
    for peer, setting in _settings(kind):
        case = Case(peer.key, setting.name, kind, "none")
        rate = _rate(results, case)
        if rate:
            peak, start = results.middle(case, "peak_mb"), results.middle(case, "start_s")
            yield _line(
                f"**{peer.name}**" if peer is PENSTOCK else peer.name,
                f"{setting.name}: {setting.about}",
                f"{results.middle(case, 'processes') or setting.processes(kind):.0f}",
                str(setting.at_once(kind)),
                setting.ack,
                "stored" if setting.results else "no",
                rate,
                _times(_ratio(results, case, _beside(peer, setting, kind))),
                "" if peak is None else f"{peak:.0f} MB",
                "" if start is None else f"{start:.2f} s",
            )


def _durable(results: Results) -> Iterator[str]:
    yield from _head("library", "setting", "no file", "everysec", "always", "beside it, in this order")
    for peer in ALL:
        for setting in peer.settings:
            cases = [Case(peer.key, setting.name, "noop", each) for each in DURABILITIES]
            if setting.durable and any(_rate(results, case) for case in cases[1:]):
                ratios = [
                    _times(_ratio(results, case, _beside(peer, setting, "noop", case.durability)))
                    for case in cases
                ]
                rates = (_rate(results, case) for case in cases)
                yield _line(peer.name, setting.name, *rates, ", ".join(filter(None, ratios)))


def _enqueued(results: Results) -> Iterator[str]:
    yield from _head("library", "one by one", "beside it", "many at once", "beside it", "its bulk call")
    for peer in ALL:
        cells: list[str] = []
        for way in _WAYS:
            case = Case(peer.key, peer.settings[0].name, way, "none")
            ours = Case(PENSTOCK.key, PENSTOCK.settings[0].name, way, "none")
            # Where there is no such call, the last column says so.
            rate = "" if results.failed.get(case) == peer.bulk else _rate(results, case)
            cells += [rate, _times(_ratio(results, case, ours))]
        if any(cells):
            yield _line(peer.name, *cells, peer.bulk)


def ratios(results: Results) -> Iterator[tuple[float, str, str]]:
    """How many times as fast Penstock drains no-op jobs, beside which library in which setting, and which of ours."""
    for peer in PEERS:
        for setting in peer.settings:
            ours = _beside(peer, setting, "noop")
            ratio = _ratio(results, Case(peer.key, setting.name, "noop", "none"), ours)
            if ratio is not None and ours is not None:
                yield ratio, f"{peer.name}, {setting.name}", ours.setting


def verdict(results: Results) -> Iterator[str]:
    """Whether the aim is met: beside the fastest Python queue of all, and beside each one's default and best."""
    found = sorted(ratios(results))
    python = [line for line in found if not line[1].startswith("Sidekiq")]
    if not python:
        return
    ratio, name, ours = python[0]
    told = "met" if ratio >= _AIM else "**missed**"
    yield f"Aim: {_AIM:g} {TIMES} the fastest Python queue beside it at draining no-op jobs: {told}."
    yield f"The closest is {name}: Penstock ({ours}) is {_times(ratio)} as fast."
    yield ""
    yield from _head("closest first", "Penstock is as fast", "its setting", f"{_AIM:g} {TIMES}")
    for ratio, name, ours in found:
        yield _line(name, _times(ratio), ours, "met" if ratio >= _AIM else "**missed**")


def faster(results: Results) -> Iterator[str]:
    """Every figure in which a library is better than what of ours stands beside it."""
    for kind in KINDS:
        for peer, setting in _settings(kind):
            case, ours = Case(peer.key, setting.name, kind, "none"), _beside(peer, setting, kind)
            ratio = _ratio(results, case, ours)
            if ratio is not None and ratio < 1 and ours is not None:
                own = PENSTOCK.setting(ours.setting).at_once(kind)
                yield (
                    f"- {_NAMES[kind]}: {peer.name}, {setting.name}: {plot.figure(1 / ratio)} {TIMES} as fast, with "
                    f"{setting.at_once(kind)} at once beside {own}."
                )
    for way, told in _WAYS.items():
        for peer in PEERS:
            case = Case(peer.key, peer.settings[0].name, way, "none")
            ratio = _ratio(results, case, Case(PENSTOCK.key, PENSTOCK.settings[0].name, way, "none"))
            if ratio is not None and ratio < 1:
                yield f"- Enqueuing {told}: {peer.name}: {plot.figure(1 / ratio)} {TIMES} as fast."
    for name, told, unit in (("peak_mb", "less memory", "MB"), ("start_s", "a quicker first job", "s")):
        better = list(_below_ours(results, name))
        if better:
            yield f"- No-op jobs with {told}, in {unit}, and Penstock beside it: {', '.join(better)}."


def _below_ours(results: Results, name: str) -> Iterator[str]:
    for peer in PEERS:
        found: list[tuple[float, str]] = []
        for setting in peer.settings:
            ours = _beside(peer, setting, "noop")
            own = results.middle(ours, name) if ours else None
            theirs = results.middle(Case(peer.key, setting.name, "noop", "none"), name)
            if own and theirs and theirs < own:
                told = f"{peer.name}, {setting.name}, {plot.figure(theirs)} beside {plot.figure(own)}"
                found.append((theirs, told))
        if found:
            yield min(found)[1]


def _bars(results: Results, kind: str, durability: str = "none", name: str = "rate") -> list[plot.Bar]:
    found: list[plot.Bar] = []
    for peer in ALL:
        for setting in peer.settings[:1] if kind in _WAYS else peer.settings:
            figures = results.samples.get(Case(peer.key, setting.name, kind, durability), {}).get(name)
            middle = results.middle(Case(peer.key, setting.name, kind, durability), name)
            if figures and middle:
                label = peer.name if kind in _WAYS else f"{peer.name}, {setting.name}"
                found.append(plot.Bar(label, middle, min(figures), max(figures), peer is PENSTOCK))
    return sorted(found, key=lambda bar: bar.value, reverse=name == "rate")


def plots(results: Results) -> dict[str, str]:
    """The drawings by the names of their files."""
    wanted: list[tuple[str, str, str, list[plot.Bar], plot.Scale]] = [
        (
            f"{_PLOTS[kind]}.svg",
            _NAMES[kind],
            "jobs a second",
            _bars(results, kind),
            "logarithmic" if kind == "noop" else "linear",
        )
        for kind in KINDS
    ]
    wanted += [
        (
            "peers-always.svg",
            "No-op jobs, Redis with appendfsync always",
            "jobs a second",
            _bars(results, "noop", "always"),
            "logarithmic",
        ),
        ("peers-enqueue.svg", "Enqueuing one by one", "jobs a second", _bars(results, "one"), "linear"),
        (
            "peers-memory.svg",
            "Memory of a worker draining no-op jobs",
            "MB, the most at once",
            _bars(results, "noop", name="peak_mb"),
            "linear",
        ),
    ]
    return {file: plot.bars(title, unit, lines, scale) for file, title, unit, lines, scale in wanted if lines}


def _having(package: str) -> str:
    """The libraries in whose environments a package is, in words."""
    *most, last = [peer.name for peer in PEERS if package in environments.pinned(peer.key)]
    return f"{', '.join(most)} and {last}"


def _about(results: Results) -> Iterator[str]:
    yield _HOW.format(
        command=results.command,
        minutes=results.took_s / 60,
        rounds=results.rounds,
        run_s=results.limits["run_s"],
        wait_s=results.limits["wait_s"],
        cut_s=results.limits["cut_s"],
        chosen="; ".join(results.chosen) or "not measured yet, each runs its first candidate",
        hiredis=_having("hiredis"),
        uvloop=_having("uvloop"),
    )
    for name, value in results.machine.items():
        if name not in ("SQLite", "packages", "worker"):
            yield f"- {name}: {value}"
    for peer in ALL:
        if peer.key in results.versions:
            yield f"- {peer.name}: {results.versions[peer.key]}; a waiting job calls {peer.sleep}"
        if peer.key in results.absent:
            yield f"- {peer.name} is absent: {results.absent[peer.key]}"


def section(results: Results) -> str:
    """What stands between the markers."""
    lines = ["## Beside other libraries", ""]
    if results.quick:
        lines += ["**A quick run: too short to be quoted.**", ""]
    lines += [*_about(results), "", *verdict(results), ""]
    for kind in KINDS:
        lines += _chapter(_NAMES[kind], _PLOTS[kind], _drained(results, kind))
    lines += _chapter("On a Redis that keeps an append-only file", "peers-always", _durable(results))
    lines += _chapter("Enqueuing, jobs a second", "peers-enqueue", _enqueued(results))
    lines += ["### Memory", "", _picture("Memory", "peers-memory"), ""]
    better = list(faster(results)) or ["- Nowhere in this run."]
    lines += ["### Where another library is better", "", *better, ""]
    broken = [
        f"- {', '.join(case)}, with a figure in {results.rounds_of(case)} of {results.rounds} rounds: {why}"
        for case, why in results.failed.items()
        if case.kind in KINDS
    ]
    if broken:
        lines += ["### Runs that failed", "", *broken, ""]
    return "\n".join(lines)


def _chapter(name: str, picture: str, table: Iterator[str]) -> list[str]:
    return [f"### {name}", "", _picture(name, picture), "", *table, ""]


def _picture(name: str, file: str) -> str:
    return f"![{name}](plots/{file}.svg)"


def placed(page: str, text: str) -> str:
    """The page with ``text`` between its markers, which are added at its end where it has none."""
    block = f"{BEGIN}\n{text.strip()}\n{END}"
    if BEGIN in page:
        return re.sub(
            f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, page, count=1, flags=re.DOTALL
        )
    return f"{page.rstrip()}\n\n{block}\n".lstrip()


def between(page: str) -> str:
    """What stands between the markers of a page, or ""."""
    found = re.search(f"{re.escape(BEGIN)}(.*?){re.escape(END)}", page, flags=re.DOTALL)
    return found.group(1).strip() if found else ""


def write(results: Results, data: Path, page: Path, folder: Path) -> None:
    """The machine-readable result, the section of the page, and the plots."""
    for each in (data.parent, folder):
        each.mkdir(parents=True, exist_ok=True)
    data.write_text(json.dumps(results.saved(), indent=1, ensure_ascii=False) + "\n")
    page.write_text(placed(page.read_text() if page.exists() else "", section(results)))
    for file, drawing in plots(results).items():
        (folder / file).write_text(drawing)
    say(f"written to {data.name}, {page.name} and {folder.name}")
