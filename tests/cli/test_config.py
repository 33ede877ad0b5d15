"""``penstock config``: every setting, its value and where it came from."""

from __future__ import annotations

from typing import Any

from penstock import Penstock
from penstock.settings import KNOWN
from tests.cli.shell import Shell


def rows(shell: Shell, *words: str, **environment: str) -> dict[str, dict[str, Any]]:
    said = shell(*words, "config", "--json", **environment)
    assert said.code == 0, said.err
    return {row["name"]: row for row in said.json()}


def test_every_setting_is_there(plain: Shell) -> None:
    found = rows(plain)
    assert list(found) == list(KNOWN)
    assert all(list(row) == ["name", "value", "source", "meaning"] for row in found.values())
    assert found["broker_url"]["value"] == f"sqlite:///{plain.folder}/penstock.db"


def test_each_source(plain: Shell) -> None:
    plain.write("penstock.toml", "grace = 3\nqueues = ['mail']\n")
    plain.write("own.py", "from penstock import Penstock\napp = Penstock('own', lease=4, max_body=500)\n")
    found = rows(plain, "-A", "own", "-b", "redis://h:1/2", PENSTOCK_LEASE="5")
    assert {
        name: (row["value"], row["source"]) for name, row in found.items() if row["source"] != "default"
    } == {
        "broker_url": ("redis://h:1/2", "command line"),
        "lease": (5.0, "PENSTOCK_LEASE"),
        "max_body": (500, "code"),
        "queues": ("mail", f"{plain.folder}/penstock.toml"),
        "grace": (3.0, f"{plain.folder}/penstock.toml"),
    }


def test_no_password(plain: Shell) -> None:
    for words in (["config"], ["config", "--json"], ["config", "-l", "debug"]):
        said = plain(*words, PENSTOCK_BROKER_URL="rediss://user:secret@h:1/2?password=secret")
        assert "rediss://h:1/2" in said.out
        assert "secret" not in said.words


def test_the_table(plain: Shell) -> None:
    said = plain("config", PENSTOCK_CONCURRENCY="7")
    lines = said.out.splitlines()
    assert lines[0].split() == ["setting", "value", "from", "meaning"]
    (line,) = (line for line in lines if line.startswith("concurrency"))
    assert line.split()[:3] == ["concurrency", "7", "PENSTOCK_CONCURRENCY"]


def test_a_relative_file_lies_beside_the_settings_file(plain: Shell) -> None:
    plain.write("penstock.toml", "broker = 'sqlite:///data.db'\n")
    below = plain.folder / "deep" / "er"
    below.mkdir(parents=True)
    said = plain("config", "--json", folder=below)
    assert f"sqlite:///{plain.folder}/data.db" in said.out


def test_without_a_settings_file_it_lies_beside_the_application(plain: Shell) -> None:
    plain.write("shop/tasks.py", "from penstock import Penstock\napp = Penstock('shop')\n")
    found = rows(plain, "-A", "shop.tasks")
    assert found["broker_url"]["value"] == f"sqlite:///{plain.folder}/shop/penstock.db"


def test_a_namespace_that_makes_no_sense_is_refused(plain: Shell) -> None:
    for words in (["queues"], ["-A", "tasks", "queues"]):
        said = plain(*words, PENSTOCK_NAMESPACE="a b")
        assert (said.code, said.out) == (2, "")
        assert "namespace 'a b': use letters" in said.err
        assert "queue name" not in said.err


def test_a_variable_that_is_no_setting_is_told_once_by_a_fleet_of_processes(plain: Shell) -> None:
    plain.write(
        "heavy.py",
        "from penstock import Penstock\napp = Penstock('heavy')\n@app.task(lane='process')\ndef f() -> int: return 5\n",
    )
    variable = {"PENSTOCK_CONCURENCY": "3"}
    with plain.running("-A", "heavy", "worker", "--processes", "2", environment=variable) as workers:
        workers.wait_for(" is ready: ")
        workers.wait_for(" is ready: ")
        url = f"sqlite:///{plain.folder}/penstock.db"
        app = Penstock("test", broker=url)
        assert app.send("heavy.f").result(30) == 5
        app.close()
        assert workers.end() == 0
    assert workers.text.count("PENSTOCK_CONCURENCY in the environment is no setting") == 1
    assert plain("config", **variable).err.count("did you mean PENSTOCK_CONCURRENCY?") == 1


def test_a_setting_that_is_wrong_is_told_by_its_place_and_not_by_a_line_of_code(plain: Shell) -> None:
    file = plain.write("penstock.toml", "concurency = 3\n")
    for words in (["-A", "tasks", "config"], ["config"], ["-A", "tasks", "worker"]):
        said = plain(*words)
        assert (said.code, said.out) == (2, "")
        assert said.err == f"penstock: {file}: no setting 'concurency'; did you mean 'concurrency'?\n"
    file.unlink()
    said = plain("-A", "tasks", "config", PENSTOCK_LEASE="long")
    assert said.err == "penstock: setting lease (PENSTOCK_LEASE): expected a number of seconds, got 'long'\n"
    plain.write("own.py", "from penstock import Penstock\napp = Penstock('own', lease=0)\n")
    said = plain("-A", "own", "config")
    assert said.err.startswith(
        "penstock: -A own: importing own failed at own.py:2: ConfigError: setting lease (code)"
    )


def test_in_one_folder_penstock_toml_counts_before_pyproject(plain: Shell) -> None:
    plain.write("pyproject.toml", "[tool.penstock]\ngrace = 1\nlease = 7\n")
    file = plain.write("penstock.toml", "grace = 2\n")
    found = rows(plain)
    assert (found["grace"]["value"], found["grace"]["source"]) == (2.0, str(file))
    assert found["lease"]["source"] == "default"
