"""Variables that decide which code a program runs, whatever its command says.

PYTHONPATH=/tmp/x    another module of the same name
LD_PRELOAD=/tmp/x.so a library in front of all others
"""

from __future__ import annotations

import re

_LOADERS = re.compile(
    r"LD_.*|DYLD_.*|GCONV_PATH|LOCPATH"  # the system's
    r"|PATH|HOME|SHELL|ENV|BASH_ENV|BASH_FUNC_.*|IFS|ZDOTDIR|XDG_.*"  # where programs are looked for
    r"|PYTHON.*|VIRTUAL_ENV|CONDA_PREFIX"
    r"|NODE_OPTIONS|NODE_PATH|BUN_.*|DENO_.*|TS_NODE_.*"
    r"|RUBYOPT|RUBYLIB|BUNDLE_.*|GEM_(HOME|PATH)|PERL5OPT|PERL5LIB|PERLLIB|PHPRC|PHP_INI_SCAN_DIR"
    r"|JAVA_HOME|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH"
    r"|DOTNET_.*|CORECLR_.*|COR_PROFILER.*|COMSPEC|PATHEXT|PSMODULEPATH|LUA_(PATH|CPATH|INIT).*"
    r"|NPM_CONFIG_.*|YARN_.*|PNPM_.*|COREPACK_.*|PIP_.*|UV_.*|PIPX_.*|POETRY_.*|CARGO_.*|GOFLAGS|GOPROXY"
    r"|DOCKER_(HOST|CONFIG|CONTEXT)"  # where they get what they start
    r"|GIT_(SSH.*|EXEC_PATH|CONFIG.*|ASKPASS|PROXY_COMMAND|EXTERNAL_DIFF|PAGER|EDITOR|TEMPLATE_DIR)",
    re.IGNORECASE,
)
# In nearly every file, and of no such meaning: who is warned of these reads no warning any more.
_HARMLESS = frozenset(
    ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE")
)
CHOOSES_CODE = "{} decides which code its program runs: read what it is set to"


def chooses_code(variable: str) -> bool:
    """Whether a program that is started with *variable* may run other code than without it."""
    return variable not in _HARMLESS and _LOADERS.fullmatch(variable) is not None
