#!/usr/bin/env bash
# Stands on the PATH as pip while a page of the documentation is typed in: nothing is fetched, but what a page says to
# install must be a package, or an extra of Penstock, that this environment has.
exec python - "$@" <<'PYTHON'
import re
import sys
from importlib.metadata import distribution

words = [word for word in sys.argv[1:] if not word.startswith("-")]
if words[:1] != ["install"] or len(words) < 2:
    sys.exit(f"pip {' '.join(sys.argv[1:])}: the pages only install packages")
for word in words[1:]:
    name, extras = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?(?:[<>=!~].*)?", word).groups()
    known = distribution(name).metadata.get_all("Provides-Extra") or []
    unknown = set((extras or "").split(",")) - {""} - set(known)
    if unknown:
        sys.exit(f"{name} has no extra {', '.join(sorted(unknown))}")
PYTHON
