"""The manual cannot rot: pages are as the program makes them, links lead somewhere, command lines parse."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from fhir_bridge.cli import commands as listed
from fhir_bridge.cli.main import group

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "fixtures" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)
HANDWRITTEN = [page for page in PAGES if page.name not in ("cli.md", "reasons.md")]
MAKES = "make docs writes it anew"


def written() -> ModuleType:
    """scripts/write_docs.py."""
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "scripts" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")  # it imports its neighbours
        spec.loader.exec_module(module)
    return module


def commands(
    parent: click.Group, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and subcommand by the words that call it."""
    context = click.Context(parent)
    for name in parent.list_commands(context):
        command = parent.get_command(context, name)
        assert command is not None
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))


COMMANDS = dict(commands(group))


@pytest.mark.parametrize("name", ["cli.md", "reasons.md"])
def test_what_the_program_writes_is_as_written(name: str) -> None:
    """`make docs` would change nothing."""
    assert (ROOT / "docs" / name).read_text() == written().pages()[name], MAKES


def test_every_command_and_option_is_documented() -> None:
    """Each has words of its own, in --help and so in docs/cli.md."""
    page = (ROOT / "docs" / "cli.md").read_text()
    for words, command in COMMANDS.items():
        assert f"`fhir-bridge {' '.join(words)}`" in page, words
        assert command.help, words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{words} {parameter.opts}"
                assert max(parameter.opts, key=len) in page


def test_the_list_of_commands_says_what_each_says_itself() -> None:
    """The list is written apart, so that `--help` imports no command; it must not say anything else."""
    for name, (_, summary) in listed.COMMANDS.items():
        told = " ".join((COMMANDS[(name,)].help or "").split())
        assert told.startswith(summary), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files and folders of the project; for the web no test."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", link)]
    broken = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert broken == []


def shown() -> list[tuple[str, str]]:
    """Every `fhir-bridge …` line of the pages and of --help itself: where, and the line."""
    texts = {str(page.relative_to(ROOT)): page.read_text() for page in HANDWRITTEN}
    # Of a page only what stands in a block of code; prose may begin with the program's name.
    texts = {
        where: "".join(re.findall(r"```.*?```|`[^`\n]+`\n?", text, re.DOTALL))
        for where, text in texts.items()
    }
    texts |= {f"{' '.join(words)} --help": command.help or "" for words, command in COMMANDS.items()}
    found = []
    for where, text in texts.items():
        lines = re.findall(r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?(fhir-bridge .+)$", text, re.MULTILINE)
        quoted = re.findall(r"`(fhir-bridge [^`]+)`", text)
        found += [(where, line) for line in lines + quoted]
    return found


@pytest.mark.parametrize(("where", "line"), shown())
def test_every_command_line_shown_can_be_typed(where: str, line: str) -> None:
    """Its options exist and its values are of the right kind; nothing is run."""
    words = shlex.split(re.split(r"\s\||\s<|\s>", line)[0], comments=True)[1:]
    words = [re.sub(r"…|\.\.\.", "", word) for word in words]
    if not words or not words[0].isalpha() or words[0].isupper():
        return
    command: click.Command = group
    context = click.Context(group, resilient_parsing=True)
    while words and isinstance(command, click.Group):
        inner = command.get_command(context, words.pop(0))
        assert inner is not None, f"{where}: {line}"
        command = inner
    parser = command.make_parser(click.Context(command))
    try:
        _, rest, _ = parser.parse_args(words)
    except click.UsageError as error:
        pytest.fail(f"{where}: {line}: {error.message}")
    assert rest == []


def test_the_pages_show_command_lines() -> None:
    """Else the test before proves nothing."""
    assert len(shown()) > 20


def test_the_test_command_of_the_readme_is_a_target_of_the_makefile() -> None:
    """The line below its mark, as .ci/run reads it."""
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"<!-- test command -->\n```\nmake (\w+)\n```", readme)
    assert found is not None
    assert re.search(rf"^{found[1]}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_makefile_has_the_everyday_commands() -> None:
    """And `make help` has words for each."""
    targets = re.findall(r"^([a-z-]+):.*## .+", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "lint", "bench", "docs", "help"} <= set(targets)
