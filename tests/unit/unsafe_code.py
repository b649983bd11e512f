"""Finds, in a module's syntax tree, what could run code out of a file, a text or a socket."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

# Modules that read pickles or marshalled code, and modules that talk to a network.
FORBIDDEN_MODULES = {
    *("cPickle", "_pickle", "dill", "cloudpickle", "joblib", "jsonpickle", "shelve", "marshal"),
    *("socketserver", "http", "xmlrpc", "wsgiref", "ftplib", "smtplib", "telnetlib", "asyncio"),
    *("urllib", "urllib3", "requests", "httpx", "aiohttp", "flask", "tornado", "uvicorn"),
    *("code", "codeop", "runpy", "pty"),
}
# Modules of which only these names may be used.
LIMITED_MODULES = {
    "pickle": {"UnpicklingError", "PickleError"},
    "socket": {"gethostname"},
}
FORBIDDEN_NAMES = {
    *("eval", "exec", "compile", "__import__", "execfile"),
    *("os.system", "os.popen", "os.execv", "os.spawnl", "os.startfile"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"),
    *("yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader", "yaml.CLoader"),
    *("pandas.read_pickle", "pandas.read_hdf", "pandas.eval", "numpy.fromregex"),
    *("torch.package", "torch.hub", "torch.jit.load", "torch.export.load"),
    *("torch.serialization", "torch.multiprocessing.start_processes", "torch.distributed"),
    *("numpy.lib.format", "numpy.core.multiarray", "multiprocessing.connection.Listener"),
    *("multiprocessing.managers", "logging.config", "scipy.io.readsav"),
}
# Calls that must say the safe choice in so many words.
REQUIRED_KEYWORDS = {
    "torch.load": ("weights_only", True),
    "numpy.load": ("allow_pickle", False),
    "numpy.save": ("allow_pickle", False),
}
# Keywords that may have one value only, whatever is called.
FIXED_KEYWORDS = {"weights_only": True, "allow_pickle": False, "shell": False}
FORBIDDEN_ATTRIBUTES = {"read_pickle", "to_pickle", "load_pickle", "unsafe_load", "query"}
# In a rule file also the directives that put names into a shell or code into the workflow.
FORBIDDEN_IN_RULES = {
    *("shell", "run", "eval", "exec", "compile", "__import__", "pickle", "dill", "joblib"),
    *("marshal", "shelve", "cloudpickle", "socket", "popen", "subprocess"),
}


def unsafe_in(source: str) -> list[str]:
    """What a module must not hold: one line each, with its line number."""
    tree = ast.parse(source)
    aliases = _aliases(tree)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [f"{node.lineno}: imports {name}" for name in _bad_imports(node)]
        elif isinstance(node, ast.Call):
            found += [f"{node.lineno}: {what}" for what in _bad_call(node, aliases)]
        if isinstance(node, ast.Name | ast.Attribute):
            name = _dotted(node, aliases)
            why = _bad_name(node, name, called.get(id(node)), id(node) in inner)
            found += [f"{node.lineno}: {why}"] if why else []
    return sorted(set(found), key=lambda line: int(line.split(":")[0]))


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Local names of imported modules and of what is imported from them, dotted."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                local = name.asname or name.name.split(".")[0]
                found[local] = name.name if name.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                found[name.asname or name.name] = f"{node.module}.{name.name}"
    return found


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """``np.load`` -> ``numpy.load``; "" for what is no chain of names."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, aliases)
        return f"{before}.{node.attr}" if before else f"?.{node.attr}"
    return ""


def _bad_imports(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        names = [name.name for name in node.names]
    else:
        names = [f"{node.module}.{name.name}" for name in node.names if node.module]
    found = []
    for name in names:
        top, _, rest = name.partition(".")
        limited = top in LIMITED_MODULES and rest and rest not in LIMITED_MODULES[top]
        star = rest.endswith("*")
        if top in FORBIDDEN_MODULES or limited or star or _within(name, FORBIDDEN_NAMES):
            found.append(name)
    return found


def _within(name: str, names: set[str]) -> bool:
    return any(name == one or name.startswith(one + ".") for one in names)


def _bad_name(node: ast.expr, name: str, call: ast.Call | None, is_inner: bool) -> str:
    """Why a name may not stand where it stands; "" where it may."""
    if _within(name, FORBIDDEN_NAMES):
        return f"uses {name}"
    if name in REQUIRED_KEYWORDS and call is None:
        return f"hands {name} on, out of sight"
    top, _, rest = name.partition(".")
    if top in LIMITED_MODULES and (rest.split(".")[0] not in LIMITED_MODULES[top] if rest else
                                   not is_inner):  # fmt: skip
        return f"uses {name}"
    attribute = node.attr if isinstance(node, ast.Attribute) else ""
    if attribute in FORBIDDEN_ATTRIBUTES or (attribute == "eval" and call and call.args):
        return f"uses .{attribute}"
    return ""


def _bad_call(node: ast.Call, aliases: dict[str, str]) -> list[str]:
    name = _dotted(node.func, aliases)
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    found = []
    for keyword, value in given.items():
        if keyword in FIXED_KEYWORDS and not _is(value, FIXED_KEYWORDS[keyword]):
            found.append(f"{name}({keyword}=...) other than {FIXED_KEYWORDS[keyword]}")
    if name in REQUIRED_KEYWORDS:
        keyword, wanted = REQUIRED_KEYWORDS[name]
        if keyword not in given or not _is(given[keyword], wanted):
            found.append(f"{name} without {keyword}={wanted}")
    first = node.args[0] if node.args else None
    if name.startswith("subprocess.") and isinstance(first, ast.Constant | ast.JoinedStr):
        found.append(f"{name} of one text instead of a list")
    if name == "getattr" and len(node.args) > 1:
        module = _dotted(node.args[0], aliases)
        known = module.split(".")[0] in {"torch", "numpy", "pandas", "yaml", "os", "builtins"}
        if known and module in {*aliases.values(), "builtins"}:
            found.append(f"getattr of {module}")
    if name == "importlib.import_module" and not _is_own_or_named(first):
        found.append("imports a module by a name that is not seen here")
    return found


def _is(node: ast.expr, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_own_or_named(node: ast.expr | None) -> bool:
    """A module by its name in the text, or one that ``module_of`` has found in the project."""
    if isinstance(node, ast.Constant):
        return str(node.value).split(".")[0] not in FORBIDDEN_MODULES | LIMITED_MODULES.keys()
    return isinstance(node, ast.Call) and _dotted(node.func, {}) in {"module_of", "self.module_of"}


def unsafe_in_rules(source: str) -> list[str]:
    """What a rule file must not hold; those files are no Python, so their words are looked at."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    found = []
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        # A word of this field, too: refused where it is called or imported.
        calls = token.string == "system" and (
            (after and after.string == "(") or (before and before.string in ("import", "os"))
        )
        if token.type == tokenize.NAME and (token.string in FORBIDDEN_IN_RULES or calls):
            found.append(f"{token.start[0]}: {token.string}")
    return found


def project_files(project: Path) -> tuple[list[Path], list[Path]]:
    """Python files of the package, its stages and benchmarks; rule files."""
    python = [*(project / "scripts").rglob("*.py"), *(project / "benchmarks").rglob("*.py")]
    rules = [project / "Snakefile", *(project / "rules").rglob("*.smk")]
    return sorted(python), sorted(rules)
