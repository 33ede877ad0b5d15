"""The runner of the examples fails where a page is wrong: each kind of mistake, in a page of its own."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.docs.blocks import Malformed
from tests.docs.page import Typing
from tests.docs.terminal import Failed
from tests.servers import free_port

TASKS = """
```python title="tasks.py"
from penstock import Penstock

app = Penstock("shop")


@app.task
def add(x: int, y: int) -> int:
    print(f"adding {x} and {y}")
    return x + y
```
"""


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, patience_s: float = 60.0) -> None:
        page = tmp_path / "page.md"
        page.write_text(text)
        Typing(page, "page.md", tmp_path, lambda: "redis://127.0.0.1:6379/0", free_port, patience_s).run()

    return read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```\nx\n```", "page.md:1: this block names no language"),
        ("```rust\nx\n```", "page.md:1: nobody runs 'rust'"),
        ("```python\nx = 1\n", "page.md:1: this fence has no end"),
        ("<!-- skip: -->\n```python\nx = 1\n```", "page.md:2: say why it is left out"),
        ("Look:\n\n    x = 1\n", "page.md:3: indented code is run by nobody"),
        ("> ```python\n> x = 1\n> ```", "page.md:1: code in a quote"),
        (">     x = 1", "page.md:1: code in a quote"),
        ("- ```python\n  x = 1\n  ```", "page.md:1: code behind a list's marker"),
        ("a\n\n\tx = 1", "page.md:3: a tab"),
        ("<pre>x = 1</pre>", "page.md:1: <pre> is run by nobody"),
        ('```console title="a"\n$ true\n```', "page.md:1: what is typed becomes no file"),
        ('```python\nx = 1\nprint("hello")  # -> goodbye\n```', "page.md:3: nobody compares this comment"),
    ],
    ids=[
        "no language",
        "unknown language",
        "no end",
        "no reason",
        "indented",
        "quoted",
        "indented in a quote",
        "in a list",
        "tab",
        "pre",
        "typed with a title",
        "told",
    ],
)
def test_a_page_that_cannot_be_read(read, text: str, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        read(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\nx = 1\n```\n\n```python\nassert x == 2\n```", 'page.md", line 6, in <module>'),
        ("```python\n1 +\n```", "SyntaxError"),
        ('```python title="a.py"\n1 +\n```', r"page.md:2: .*invalid syntax"),
        ("```python\n# a.py (added)\n1\n```", "no a.py yet"),
        ('```python title="../a.py"\n1\n```', "outside the page's folder"),
        ("```python\nimport os; os._exit(3)\n```", "ended the interpreter"),
        ("```pycon\n>>> 1 + 1\n3\n```", "Expected:\n    3\nGot:\n    2"),
        ("```pycon\n1\n```", "no line begins with >>>"),
        ("```console\n$ echo a\nb\n```", "page.md:2: .*\nthe page shows:\nb\n\nit said:\na\n"),
        ("```console\n$ echo a\na\nb\n```", "it said:\na\n"),
        ("```console\n$ printf 'a\\nb\\n'\na\n```", "it said:\na\nb\n"),
        ("```console\n$ true\n$ ls nowhere\n```", r"page.md:3: .*\nended with exit status 2"),
        ("```console\n$ if\n```", "ended with exit status"),
        ("```console\n$ false; true\n```", "ended with exit status 1"),
        ("```console\n$ false | cat\n```", "ended with exit status 1"),
        ("```console\n$ (false; true)\n```", "ended with exit status 1"),
        ("```console\n$ echo $(false; echo a)\na\n```", "ended with exit status 1"),
        ("```console\n$ for n in 1 0; do (exit $n); done\n```", "ended with exit status 1"),
        ('```console\n$ false; true; echo "exit $?"\nexit 0\n```', "ended with exit status 1"),
        ("```console\n$ false && true; true\n```", "hides what fails before ';'"),
        ("```console\n$ ! true; true\n```", "hides what fails before ';'"),
        ("```console\n$ false &\n```", "what is no worker or server"),
        ('```console\n$ false; echo "exit $?"\n```', "show which status"),
        ("```console\n$ echo a\n...\n```", "proves nothing"),
        ('```python title="a.py"\nfrom penstock import Penstok\n```', "page.md:2: nothing runs .*Penstok"),
        (
            '```python title="a.py"\nimport gone\n```\n\n```python title="a.py"\nx = 1\n```',
            "page.md:2: nothing runs .*gone",
        ),
        ('```python title="a/b.py"\nimport gone\n```', "page.md:2: nothing runs .*gone"),
        ("```console\na\n```", "nothing runs here that could say this"),
        ("```console\n$ pip install penstock[sqlite]\n```", "penstock has no extra sqlite"),
        ("```toml\na = \n```", "this is no toml"),
        ("```json\n{\n```", "this is no json"),
        ("```yaml\na: [\n```", "this is no yaml"),
        ("```ini\na\n```", "this is no ini"),
    ],
)
def test_a_block_that_does_not_do_what_it_shows(read, text: str, said: str) -> None:
    with pytest.raises(Failed, match=f"(?s){said}"):
        read(text)


def test_a_command_and_a_block_that_do_not_end(read) -> None:
    with pytest.raises(Failed, match="has not ended"):
        read("```console\n$ cat /dev/zero >/dev/null\n```", patience_s=0.5)


def test_a_block_of_python_that_does_not_end(read) -> None:
    with pytest.raises(Failed, match="did not end in"):
        read("```python\nimport threading; threading.Event().wait()\n```", patience_s=0.5)


def test_a_worker_that_does_not_say_what_is_shown(read) -> None:
    said = "```console\n$ penstock -A tasks worker\n...subtracting\n```"
    with pytest.raises(Failed, match=r"the page shows:\n\.\.\.subtracting\n\nit said:\n"):
        read(TASKS + said, patience_s=3)


def test_a_worker_that_does_not_start(read) -> None:
    with pytest.raises(Failed, match=r"(?s)there is no module 'tasks'.*it has ended"):
        read("```console\n$ penstock -A tasks worker\n```")


def test_a_worker_that_is_killed_in_mid_page(read) -> None:
    typed = "```console\n$ penstock -A tasks worker\n```\n\n```python\n{}\n```"
    kill = (
        "import os, pathlib, signal, time\nfrom tasks import app\npid = app.workers()[0].pid\n"
        "os.kill(pid, signal.SIGKILL)\nwhile pathlib.Path(f'/proc/{pid}').exists():\n    time.sleep(0.01)"
    )
    with pytest.raises(Failed, match=r"(?s)at the page's end: .*worker\nhas ended, and nobody asked it to"):
        read(TASKS + typed.replace("{}", kill))


def test_a_worker_put_behind_that_ends_behind_the_page(read) -> None:
    typed = (
        '$ penstock -A tasks worker & echo "$!" >pid\n$ kill -KILL "$(cat pid)"\n'
        '$ until ! kill -0 "$(cat pid)"; do sleep 0.1; done\n'
    )
    with pytest.raises(Failed, match=r"'&' puts this behind; wait for its number"):
        read(TASKS + f"```console\n{typed}```")


def test_what_is_right_passes(read) -> None:
    read(
        dedent(
            """
            ```python
            x = 1
            ```

            <!-- skip: nobody has this -->
            ```console
            $ nobody has this
            ```

            ```python
            import asyncio
            await asyncio.sleep(0)
            assert x == 1
            ```

            ```pycon
            >>> x + 1
            2
            ```

            ```console
            $ export WORD=hello; mkdir -p inner; cd inner
            $ echo "$WORD" \\
                 "$(basename "$PWD")"; false; echo "exit $?"
            hello inner
            exit 1
            $ ls nowhere || echo port 8000
            ls: cannot access ...
            port 8000
            ```
            """
        )
    )


def test_a_worker_is_watched_and_interrupted(read) -> None:
    read(
        TASKS
        + dedent(
            """
            ```console
            $ penstock -A tasks worker
            ...
            ... is ready: ...
            $ python -c 'from tasks import add; print(add.delay(1, 2).result(timeout=20))'
            3
            ```

            ```console
            ...
            adding 1 and 2
            ^C
            ...
            ```

            ```python
            from tasks import add
            assert add(1, 2) == 3
            ```
            """
        )
    )
