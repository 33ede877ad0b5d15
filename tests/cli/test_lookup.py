"""``-A``: a module, ``module:attribute`` or a file; and what is said where it is not there."""

from __future__ import annotations

import pytest

from tests.cli.shell import Said, Shell

ONE = "from penstock import Penstock\napp = Penstock('one')\n"


def app_of(shell: Shell, reference: str) -> Said:
    """Loads the application, as every command with -A does."""
    return shell("-A", reference, "config")


def loaded(said: Said) -> bool:
    return said.code == 0 and "broker_url" in said.out


@pytest.mark.parametrize("reference", ["tasks", "tasks:app", "tasks.py", "./tasks.py", "tasks.py:app"])
def test_a_module_an_attribute_or_a_file(plain: Shell, reference: str) -> None:
    assert loaded(app_of(plain, reference))


@pytest.mark.parametrize(
    "reference", ["shop.tasks", "shop.tasks:app", "shop/tasks.py", "shop/tasks.py:app", "shop"]
)
def test_a_module_of_a_package(plain: Shell, reference: str) -> None:
    plain.write("shop/__init__.py", "from .tasks import app\n")
    plain.write("shop/tasks.py", ONE)
    assert loaded(app_of(plain, reference))


def test_a_file_of_a_package_is_imported_by_its_full_name_from_anywhere(shell: Shell) -> None:
    shell.write("shop/__init__.py", "")
    shell.write("shop/database.py", "")
    shell.write("shop/tasks.py", ONE + "from . import database\n@app.task\ndef f() -> None: ...\n")
    elsewhere = shell.folder.parent
    file = str(shell.folder / "shop" / "tasks.py")
    assert shell("-A", file, "enqueue", "shop.tasks.f", folder=elsewhere).code == 0


def test_the_current_folder_comes_before_what_is_installed(plain: Shell) -> None:
    plain.write("flask.py", ONE)
    assert loaded(app_of(plain, "flask"))


def test_an_attribute_of_an_attribute(plain: Shell) -> None:
    plain.write("deep.py", ONE + "class site:\n    main = app\ndel app\n")
    assert loaded(app_of(plain, "deep:site.main"))


def test_two_names_of_one_application_are_one(plain: Shell) -> None:
    plain.write("twice.py", ONE + "celery = app\n")
    assert loaded(app_of(plain, "twice"))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("taskz", "-A taskz: there is no module 'taskz' in {folder}; there is tasks"),
        ("tasks:ap", "-A tasks:ap: tasks has no 'ap'; its applications: app"),
        ("tasks:add", "-A tasks:add: tasks is a Task, not an application: 'add'; its applications: app"),
        ("nowhere.py", "-A nowhere.py: there is no file {folder}/nowhere.py"),
        ("empty", "-A empty: the module makes no Penstock(...)"),
        ("package", "-A package: the module makes no Penstock(...); did you mean -A package.jobs?"),
        ("package.job", "-A package.job: there is no module 'package.job' in {folder}/package; there is package.jobs"),
        ("several", "-A several: the module has several applications; name one: -A several:a or -A several:b"),
        ("broken", "-A broken: importing broken failed at broken.py:3: ZeroDivisionError: division by zero"),
        ("deeper", "-A deeper: importing deeper failed at broken.py:3: ZeroDivisionError: division by zero"),
        ("typo", "-A typo: importing typo failed at typo.py:2: SyntaxError: "),
        ("needs", "-A needs: importing needs failed at needs.py:1: ModuleNotFoundError: No module named 'nothing'"),
        ("calls", "-A calls: importing calls failed at calls.py:2: JSONDecodeError: Expecting value"),
        ("models", "models.py:4: AppRegistryNotReady: Apps aren't loaded yet. Let -A name a module that calls django"),
        ("exits", "-A exits: importing exits failed at exits.py:2: it ends the program while it is imported"),
        ("url", "-A url: importing url failed at url.py:2: ConfigError: broker URL: kafka://... is not known"),
        ("twins", "-A twins: importing twins failed at twins.py:6: ConfigError: two tasks are named 'f'"),
        ("what is this", "-A what is this: expected MODULE, MODULE:ATTRIBUTE or a file.py"),
        ("", "-A : expected MODULE, MODULE:ATTRIBUTE or a file.py"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line_and_2(plain: Shell, reference: str, expected: str) -> None:
    plain.write("empty.py", "")
    plain.write("package/__init__.py", "")
    plain.write("package/jobs.py", ONE)
    plain.write("several.py", "from penstock import Penstock\na, b = Penstock('a'), Penstock('b')\n")
    plain.write("broken.py", "from penstock import Penstock\n\n1 / 0\n")
    plain.write("deeper.py", "import broken\n")
    plain.write("typo.py", "import os\ndef f(:\n")
    plain.write("needs.py", "import nothing\n")
    plain.write("calls.py", "import json\njson.loads('')\n")
    plain.write(
        "models.py",
        "from django.conf import settings\nsettings.configure()\nfrom django.apps import apps\n"
        "apps.check_apps_ready()\n",
    )
    plain.write("exits.py", "import sys\nsys.exit(3)\n")
    plain.write("url.py", "from penstock import Penstock\napp = Penstock('x', broker='kafka://u:secret@h')\n")
    plain.write(
        "twins.py",
        ONE + "@app.task(name='f')\ndef f() -> None: ...\n\n@app.task(name='f')\ndef g() -> None: ...\n",
    )
    for said in (app_of(plain, reference), plain("-A", reference, "worker")):
        assert (said.code, said.out) == (2, "")
        assert expected.format(folder=plain.folder) in said.err
        assert said.err.count("\n") == 1
        assert "secret" not in said.err


def test_debug_shows_the_traceback(plain: Shell) -> None:
    plain.write("broken.py", "1 / 0\n")
    for words in (("-A", "broken", "-l", "debug", "worker"), ("-A", "broken", "config", "--loglevel=debug")):
        said = plain(*words)
        assert said.code == 2
        assert "Traceback (most recent call last):" in said.err
        assert "ZeroDivisionError" in said.err
    assert "Traceback" in plain("-A", "broken", "worker", PENSTOCK_LOGLEVEL="debug").err


def test_a_command_that_needs_an_application_says_so(plain: Shell) -> None:
    said = plain("worker")
    assert said.code == 2
    assert (
        said.err
        == "penstock: which application? name it: penstock -A MODULE worker (or MODULE:ATTRIBUTE, a file)\n"
    )
