"""Write docs/cli.md from the commands' own `--help`, and check that the documentation is true.

    python docs/build.py            rewrite docs/cli.md
    python docs/build.py --check    fail if docs/cli.md is stale or a page points at nothing

Pages are README.md and docs/*.md. Checked are relative links and pictures, with their #anchors, and names of
code in backticks, written `model/router.py:within_budget` or `src/mematte/engine/plan.py:Plan.caps`: paths
from the repository's root or from src/mematte, names of classes, functions, methods, fields and constants.
"""
# ruff: noqa: T201, this is a script: what it prints is its purpose.

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
CLI_PAGE = ROOT / "docs" / "cli.md"
HEADER = """\
# Command line

Made from the commands' own `--help` by `make docs`; `make check` fails when it is stale.
"""

_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=[\"']([^\"']+)[\"']")
_CODE_NAME = re.compile(r"`([\w./-]+\.py):([A-Za-z_][\w.]*)(?:\(\))?`")
_HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)


def cli_page() -> str:
    """The text of docs/cli.md: every command's help, in the order of the program's own list."""
    # Typer asks for these when it is imported: without them the page would depend on who builds it.
    os.environ.update(
        TERMINAL_WIDTH="100", COLUMNS="100", NO_COLOR="1", TERM="dumb", _TYPER_FORCE_DISABLE_TERMINAL="1"
    )
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):
        os.environ.pop(name, None)
    import typer.main
    from typer.testing import CliRunner

    from mematte.cli import app

    sections = [HEADER]
    for words in _commands(typer.main.get_command(app)):
        result = CliRunner().invoke(app, [*words, "--help"], prog_name="mematte")
        if result.exit_code != 0:
            raise SystemExit(
                f"`mematte {' '.join(words)} --help` failed:\n{result.output}{result.exception!r}"
            )
        lines = [line.rstrip() for line in result.output.strip("\n").splitlines()]
        body = "\n".join(lines).strip("\n")
        sections.append(f"## {' '.join(['mematte', *words])}\n\n```text\n{body}\n```\n")
    return "\n".join(sections)


def _commands(command: object, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words after `mematte` that lead to each visible command, groups before their members."""
    yield words
    for name, member in getattr(command, "commands", {}).items():
        if not member.hidden:
            yield from _commands(member, (*words, name))


def pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.is_file()]


def dead_pointers(page: Path) -> Iterator[str]:
    """Yield one line per link or name of code on the page that leads nowhere."""
    text = page.read_text(encoding="utf-8")
    prose = _FENCED.sub("", text)
    where = page.relative_to(ROOT)
    for match in _LINK.finditer(re.sub(r"`[^`\n]*`", "", prose)):
        target = unquote(match[1] or match[2])
        if re.match(r"[a-z][a-z0-9+.-]*:", target, re.IGNORECASE):
            continue  # a web address: not ours to check
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{where}: the link to {target} leads nowhere"
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file):
            yield f"{where}: {file.relative_to(ROOT)} has no heading #{anchor}"
    for file_name, name in _CODE_NAME.findall(prose):
        source = next(
            (base / file_name for base in (ROOT, ROOT / "src" / "mematte") if (base / file_name).is_file()),
            None,
        )
        if source is None:
            yield f"{where}: `{file_name}:{name}` names a file that is not there"
        elif name not in _names(ast.parse(source.read_text(encoding="utf-8")).body):
            yield f"{where}: `{file_name}:{name}` is not defined in {source.relative_to(ROOT)}"


def _anchors(page: Path) -> set[str]:
    """The page's headings as GitHub turns them into anchors; a repeated one gets -1, -2 ..."""
    anchors: set[str] = set()
    for heading in _HEADING.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = 0
        while (anchor := f"{slug}-{count}" if count else slug) in anchors:
            count += 1
        anchors.add(anchor)
    return anchors


def _names(body: list[ast.stmt], prefix: str = "") -> set[str]:
    """What a file or class body defines, dotted: classes, functions, methods, fields, constants."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef):
            names |= {prefix + node.name} | _names(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(prefix + node.name)
        elif isinstance(node, ast.Assign):
            names |= {
                prefix + one.id
                for target in node.targets
                for one in ast.walk(target)
                if isinstance(one, ast.Name)
            }
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(prefix + node.target.id)
    return names


def main() -> int:
    """Build or check; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write docs/cli.md, or check the documentation.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if anything is stale or dead"
    )
    check: bool = parser.parse_args().check

    page = cli_page()
    if not check:
        CLI_PAGE.write_text(page, encoding="utf-8")
        return 0
    problems = [line for path in pages() for line in dead_pointers(path)]
    if not CLI_PAGE.is_file() or CLI_PAGE.read_text(encoding="utf-8") != page:
        problems.append("docs/cli.md is stale: run `make docs`")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
