"""Writes the pages of docs/ that are made from the program itself, so that they cannot rot."""

from __future__ import annotations

from pathlib import Path

import click
import version_names

from fhir_bridge.cli.main import group
from fhir_bridge.mapping.noted import NOTES
from fhir_bridge.mapping.reasons import REASONS

DOCS = Path(__file__).parent.parent / "docs"
WIDTH = 100


def pages() -> dict[str, str]:
    """File name → what the page must say."""
    return {
        "cli.md": command_line(),
        "notes.md": notes(),
        "reasons.md": reasons(),
        "versions.md": version_names.page(),
    }


def command_line() -> str:
    """One section for each command and subcommand, each with its own help."""
    root = click.Context(
        group,
        info_name="fhir-bridge",
        max_content_width=WIDTH,
        terminal_width=WIDTH,
        **group.context_settings,
    )
    parts = ["# The command line\n", "Written by `make docs` from `--help`.\n", _section(group, root, "##")]
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH)
        parts.append(_section(command, context, "##"))
        if isinstance(command, click.Group):
            parts += [
                _section(child, click.Context(child, info_name=below, parent=context), "###")
                for below, child in command.commands.items()
            ]
    return "\n".join(parts)


def _section(command: click.Command, context: click.Context, level: str) -> str:
    # click keeps the help option of the first context it saw, which may have been a test's.
    command._help_option = None
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    return "\n".join([f"{level} `{context.command_path}`", "```", *lines, "```", ""])


def reasons() -> str:
    """Every reason code as a table: what it means, which rule decides, what would change it."""
    head = (
        "# Why nobody is called: every reason\n\n"
        "Written by `make docs`. A *skip* is rightly no call; a *reject* was wanted, but the data won't do,\n"
        "so a person must look. `fhir-bridge explain FILE` says which elements decided.\n\n"
        "| reason | kind | what it means | what would change it |\n|---|---|---|---|\n"
    )
    return head + "".join(
        f"| `{reason.code}` | {reason.kind} | {reason.meaning} | {reason.remedy} |\n"
        for reason in REASONS.values()
    )


def notes() -> str:
    """Every note as a table: what it says of the data, and what was done about it."""
    head = (
        "# What is noted about the data\n\n"
        "Written by `make docs`. A note changes no decision by itself: it says what is odd in a resource,\n"
        "and what the bridge did about it. `fhir-bridge explain FILE` names the element of each. Codes that\n"
        "begin with `validation:` come of a check against the standard, where `validation` asks for one.\n\n"
        "| note | what it means |\n|---|---|\n"
    )
    return head + "".join(f"| `{code}` | {meaning} |\n" for code, meaning in NOTES.items())


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text)
