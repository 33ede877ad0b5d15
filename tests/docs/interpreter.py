"""A Python that the unnamed blocks of one page share: takes a block a line as JSON, answers with what went wrong.

Run as a program, with the number of the file descriptor that it answers on. ``await`` may stand at the top level.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import io
import json
import linecache
import sys
import traceback
import types
from pathlib import Path
from typing import Any


def main() -> None:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.path[0] = str(Path.cwd())
    with open(int(sys.argv[1]), "w", buffering=1) as answers, asyncio.Runner() as runner:  # noqa: PTH123 - a number
        for line in sys.stdin:
            block = json.loads(line)
            run = session if block["language"] == "pycon" else script
            answers.write(json.dumps(run(block, module, runner)) + "\n")


def script(block: dict[str, Any], module: types.ModuleType, runner: asyncio.Runner) -> str:
    """Runs a block in the page's module; the text of its error, or an empty one."""
    name = block["page"]
    # Empty lines above it, so that a traceback names the page's own lines.
    source = "\n" * (block["line"] - 1) + block["text"]
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(_awaited(code, module))
        else:
            exec(code, vars(module))
    except BaseException as error:
        ours = error.__traceback__.tb_next if error.__traceback__ else None
        return "".join(traceback.format_exception(type(error), error, ours))
    finally:
        sys.stdout.flush()
    return ""


async def _awaited(code: types.CodeType, module: types.ModuleType) -> None:
    await eval(code, vars(module))


def session(block: dict[str, Any], module: types.ModuleType, runner: asyncio.Runner) -> str:
    """Runs ``>>>`` lines and compares what they print, where ``...`` stands for anything."""
    test = doctest.DocTestParser().get_doctest(
        block["text"], {}, block["page"], block["page"], block["line"] - 1
    )
    if not test.examples:
        return "no line begins with >>>"
    test.globs = vars(module)
    said = io.StringIO()
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.write, clear_globs=False)
    return said.getvalue()


if __name__ == "__main__":
    main()
