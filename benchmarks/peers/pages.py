"""The tables and plots of what was measured, for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import TIMES, say
from benchmarks.peers.results import DURABILITIES, Case, Results
from benchmarks.peers.table import ALL, PEERS, PENSTOCK, Peer, Setting

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
_AIM = 5.0


def beside(setting: Setting, kind: str) -> Setting:
    """Penstock's setting that does the same: results stored or not, its own default or the most at once."""
    if kind == "noop":
        return PENSTOCK.setting("default" if setting.results else "no results")
    named = setting.name.startswith("best")
    return PENSTOCK.setting("coroutines, 100 at once, no results" if named else "default")


def _settings(kind: str) -> Iterator[tuple[Peer, Setting]]:
    for peer in ALL:
        for setting in peer.settings:
            if kind in setting.kinds:
                yield peer, setting


def _head(*names: str) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield "|---" * len(names) + "|"


def _rate(results: Results, case: Case) -> str:
    figures = results.samples.get(case, {}).get("rate")
    if not figures:
        return "no figure" if case in results.failed else ""
    middle = results.middle(case) or 0.0
    cut = ", cut" if any(results.samples[case].get("cut", [])) else ""
    return f"{middle:,.0f} ({min(figures):,.0f} to {max(figures):,.0f}{cut})"


def _ratio(results: Results, case: Case, ours: Case) -> str:
    theirs, own = results.middle(case), results.middle(ours)
    if not theirs or not own or case.peer == PENSTOCK.key:
        return ""
    return f"{own / theirs:.3g} {TIMES}"


def _drained(results: Results, kind: str) -> Iterator[str]:
    yield from _head(
        "library",
        "setting",
        "at once",
        "ack",
        "results",
        "jobs/s (least to most)",
        "Penstock beside it",
        "memory",
        "first job",
    )
    for peer, setting in _settings(kind):
        case = Case(peer.key, setting.name, kind, "none")
        rate = _rate(results, case)
        if not rate:
            continue
        ours = Case(PENSTOCK.key, beside(setting, kind).name, kind, "none")
        peak, start = results.middle(case, "peak_mb"), results.middle(case, "start_s")
        cells = [
            f"**{peer.name}**" if peer is PENSTOCK else peer.name,
            f"{setting.name}: {setting.about}",
            str(setting.at_once(kind)),
            setting.ack,
            "stored" if setting.results else "no",
            rate,
            _ratio(results, case, ours),
            "" if peak is None else f"{peak:.0f} MB",
            "" if start is None else f"{start:.2f} s",
        ]
        yield f"| {' | '.join(cells)} |"


def _durable(results: Results) -> Iterator[str]:
    yield from _head(
        "library",
        "setting",
        "no file",
        "`appendfsync everysec`",
        "`appendfsync always`",
        "Penstock beside it",
    )
    for peer in ALL:
        for setting in peer.settings:
            cases = [Case(peer.key, setting.name, "noop", each) for each in DURABILITIES]
            if not setting.durable or not any(case in results.samples for case in cases[1:]):
                continue
            name = beside(setting, "noop").name
            ratios = [
                _ratio(results, case, Case(PENSTOCK.key, name, "noop", case.durability)) for case in cases
            ]
            cells = [peer.name, setting.name, *(_rate(results, case) for case in cases)]
            yield f"| {' | '.join([*cells, ', '.join(filter(None, ratios))])} |"


def _enqueued(results: Results) -> Iterator[str]:
    ours = "Penstock beside it"
    yield from _head("library", "one by one, jobs/s", ours, "many at once, jobs/s", ours, "its bulk call")
    for peer in ALL:
        name, own = peer.settings[0].name, PENSTOCK.settings[0].name
        cases = [Case(peer.key, name, way, "none") for way in ("one", "many")]
        if cases[0] not in results.samples:
            continue
        cells = [peer.name]
        for case in cases:
            cells += [
                _rate(results, case) if case in results.samples else "",
                _ratio(results, case, Case(PENSTOCK.key, own, case.kind, "none")),
            ]
        yield f"| {' | '.join([*cells, peer.bulk])} |"


def verdicts(results: Results) -> Iterator[str]:
    """Whether the aim is met, beside each library's default and its best, and beside the fastest of all."""
    lines: list[tuple[float, str]] = []
    for peer in PEERS:
        for setting in peer.settings:
            case = Case(peer.key, setting.name, "noop", "none")
            ours = Case(PENSTOCK.key, beside(setting, "noop").name, "noop", "none")
            theirs, own = results.middle(case), results.middle(ours)
            if theirs and own:
                verdict = "met" if own >= _AIM * theirs else "**missed**"
                text = f"{peer.name}, {setting.name}: {own / theirs:.3g} {TIMES} ({ours.setting}): {verdict}"
                lines.append((own / theirs, text))
    if not lines:
        return
    fastest = min(lines)
    python = "the fastest library measured beside it"
    yield f"Aim: {_AIM:g} {TIMES} {python}, no-op drain. The closest: {fastest[1]}."
    yield ""
    for _, text in lines:
        yield f"- {text}"


def section(results: Results) -> str:
    """What stands between the markers."""
    lines = []
    if results.quick:
        lines += ["**A quick run: too short to be quoted.**", ""]
    lines += [f"Written by `{results.command}` in {results.took_s / 60:.0f} min.", ""]
    lines += [
        f"- {name}: {value}" for name, value in results.machine.items() if name not in ("SQLite", "packages")
    ]
    lines += [f"- {key}: {each}" for key, each in results.versions.items()]
    lines += [f"- {key} is absent: {reason}" for key, reason in results.absent.items()]
    lines += ["", *verdicts(results), ""]
    for kind in ("noop", "1 ms", "10 ms"):
        lines += [f"### {kind}", "", *_drained(results, kind), ""]
    lines += ["### durable", "", *_durable(results), "", "### Enqueuing", "", *_enqueued(results), ""]
    lines += [f"- no figure: {', '.join(case)}: {why}" for case, why in results.failed.items()]
    return "\n".join(lines) + "\n"


def placed(page: str, text: str) -> str:
    """The page with ``text`` between its markers, which are added at its end where it has none."""
    block = f"{BEGIN}\n{text.strip()}\n{END}"
    if BEGIN in page:
        return re.sub(
            f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, page, count=1, flags=re.DOTALL
        )
    return f"{page.rstrip()}\n\n{block}\n".lstrip()


def write(results: Results, data: Path, page: Path, plots: Path) -> None:
    """The machine-readable result, the section of the page, and the plots."""
    for folder in (data.parent, plots):
        folder.mkdir(parents=True, exist_ok=True)
    data.write_text(json.dumps(results.saved(), indent=1, ensure_ascii=False) + "\n")
    page.write_text(placed(page.read_text() if page.exists() else "", section(results)))
    say(f"written to {data.name}, {page.name}")
