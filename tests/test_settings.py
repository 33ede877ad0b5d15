"""Settings: where each comes from, which one counts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock import ConfigError
from penstock.settings import DEFAULT_BROKER, KNOWN, Settings, unsaid


def source(settings: Settings, name: str) -> str:
    (found,) = (setting.source for setting in settings.all() if setting.name == name)
    return found


def test_defaults(tmp_path: Path) -> None:
    settings = Settings(tmp_path, environment={})
    assert [setting.name for setting in settings.all()] == list(KNOWN)
    assert settings["broker_url"] == DEFAULT_BROKER
    assert settings["concurrency"] == 10
    assert settings["lease"] == 15.0
    assert {setting.source for setting in settings.all()} == {"default"}


def test_the_nearer_to_the_person_counts(tmp_path: Path) -> None:
    """Command line, environment, file, code, default."""
    file = tmp_path / "penstock.toml"
    code = {"concurrency": 2}
    environment = {"PENSTOCK_CONCURRENCY": "4"}
    command_line = {"concurrency": 5}
    settings = Settings(tmp_path, code, environment={})
    assert (settings["concurrency"], source(settings, "concurrency")) == (2, "code")
    file.write_text("concurrency = 3\n")
    settings = Settings(tmp_path, code, environment={})
    assert (settings["concurrency"], source(settings, "concurrency")) == (3, str(file))
    settings = Settings(tmp_path, code, environment=environment)
    assert (settings["concurrency"], source(settings, "concurrency")) == (4, "PENSTOCK_CONCURRENCY")
    settings = Settings(tmp_path, code, command_line, environment)
    assert (settings["concurrency"], source(settings, "concurrency")) == (5, "command line")


def test_none_is_not_given(tmp_path: Path) -> None:
    settings = Settings(tmp_path, {"lease": None}, {"lease": None}, {})
    assert (settings["lease"], source(settings, "lease")) == (15.0, "default")


def test_an_empty_variable_is_not_given(tmp_path: Path) -> None:
    settings = Settings(tmp_path, environment={"PENSTOCK_CONCURRENCY": "", "PENSTOCK_BROKER_URL": ""})
    assert (settings["concurrency"], settings["broker_url"]) == (10, DEFAULT_BROKER)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("penstock.toml", "lease = 7\n"),
        ("penstock.toml", "[penstock]\nlease = 7\n"),
        ("pyproject.toml", "[tool.penstock]\nlease = 7\n"),
    ],
)
def test_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    below = tmp_path / "shop" / "deep"
    below.mkdir(parents=True)
    settings = Settings(below, environment={})
    assert (settings["lease"], settings.folder, settings.file) == (7.0, tmp_path, tmp_path / name)


def test_the_nearest_file_counts_alone(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("lease = 7\n")
    below = tmp_path / "shop"
    below.mkdir()
    (below / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    settings = Settings(below, environment={})
    assert (settings["lease"], settings.folder) == (15.0, below)


def test_of_two_in_one_folder_penstocks_own_counts(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("lease = 7\n")
    (tmp_path / "pyproject.toml").write_text("[tool.penstock]\nlease = 8\n")
    assert Settings(tmp_path, environment={})["lease"] == 7.0


def test_broker_may_be_spelled_as_in_code(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("broker = 'redis://h/1'\n")
    assert Settings(tmp_path, environment={})["broker_url"] == "redis://h/1"


def test_queues_may_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("queues = ['mail', 'default']\n")
    assert Settings(tmp_path, environment={})["queues"] == "mail,default"


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False)]
)
def test_yes_and_no(tmp_path: Path, text: str, value: bool) -> None:
    assert Settings(tmp_path, environment={"PENSTOCK_GUARD": text})["guard"] is value


def test_a_log_level_is_told_in_any_case(tmp_path: Path) -> None:
    assert Settings(tmp_path, environment={"PENSTOCK_LOGLEVEL": "WARNING"})["loglevel"] == "warning"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("CONCURRENCY", "many", "setting concurrency (PENSTOCK_CONCURRENCY): expected a whole number, got 'many'"),
        ("CONCURRENCY", "1.5", "expected a whole number, got '1.5'"),
        ("CONCURRENCY", "0", "setting concurrency (PENSTOCK_CONCURRENCY): at least 1, got 0"),
        ("CONCURRENCY", "10001", "setting concurrency (PENSTOCK_CONCURRENCY): at most 10,000, got 10,001"),
        ("PROCESSES", "100000", "at most 1,000, got 100,000; for more, start workers on more machines"),
        ("LEASE", "0.01", "setting lease (PENSTOCK_LEASE): at least 0.1, got 0.01"),
        ("LEASE", "nan", "at least 0.1, got nan"),
        ("LEASE", "inf", "at least 0.1, got inf"),
        ("LEASE", "15s", "expected a number of seconds, got '15s'"),
        ("GUARD", "maybe", "setting guard (PENSTOCK_GUARD): expected true or false, got 'maybe'"),
        ("LOGLEVEL", "loud", "setting loglevel (PENSTOCK_LOGLEVEL): one of debug, info, warning, error, critical"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense(tmp_path: Path, variable: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Settings(tmp_path, environment={f"PENSTOCK_{variable}": text})
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lease = [[[", "penstock.toml: "),
        ("leese = 3", "no setting 'leese'; did you mean 'lease'?"),
        ("colour = 3", "no setting 'colour'; there are broker_url, concurrency"),
        ("penstock = 3", "[tool.penstock] is not a table"),
        ("concurrency = 2.5", "expected a whole number, got 2.5"),
        ("concurrency = true", "expected a whole number, got True"),
        ("namespace = 3", "expected text, got 3"),
        ("broker_url = 3", "expected text, got something else"),
        ("lease = '\xff", "penstock.toml: "),
    ],
)
def test_files_that_make_no_sense(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "penstock.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as refused:
        Settings(tmp_path, environment={})
    assert expected in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_project_whose_tool_table_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool = 3\n")
    assert Settings(tmp_path, environment={})["lease"] == 15.0


def test_a_url_is_never_quoted(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("broker_url = ['redis://u:secret@h']\n")
    with pytest.raises(ConfigError) as refused:
        Settings(tmp_path, environment={})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("PENSTOCK_CONCURENCY", "did you mean PENSTOCK_CONCURRENCY?"),
        ("PENSTOCK_BROKER", "did you mean PENSTOCK_BROKER_URL?"),
        ("PENSTOCK_COLOUR", "penstock config shows what there is"),
    ],
)
def test_a_variable_that_is_no_setting_is_told_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    hint: str,
) -> None:
    monkeypatch.setattr("penstock.settings._said", set())
    for _ in range(2):
        Settings(tmp_path, environment={variable: "secret", "PENSTOCK_LEASE": "5", "OTHER_LEESE": "1"})
    assert caplog.messages == [f"{variable} in the environment is no setting and changes nothing; {hint}"]


def test_variables_that_others_give_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.settings._said", set())
    names = [
        "SUPERVISED",
        "PYTHON",
        "TEST_REDIS_URL",
        "PORT",
        "PORT_80_TCP_ADDR",
        "SERVICE_HOST",
        "SERVICE_PORT_HTTP",
    ]
    Settings(tmp_path, environment={f"PENSTOCK_{name}": "x" for name in names})
    monkeypatch.setenv("PENSTOCK_COLOUR", "red")
    unsaid()
    Settings(tmp_path)
    assert caplog.messages == []
