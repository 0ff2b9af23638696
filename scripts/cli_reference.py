"""Writes docs/cli.md anew from every command's own --help, so that the page cannot rot."""

from __future__ import annotations

import os
from pathlib import Path

import click

os.environ["COLUMNS"] = "100"
PAGE = Path(__file__).parent.parent / "docs" / "cli.md"


def reference() -> str:
    """The page: one section for each command and subcommand, each with its help."""
    from fhir_bridge.cli.main import group

    parts = ["# The command line\n", "Written by `make docs` from `--help`.\n"]
    root = click.Context(group, info_name="fhir-bridge", max_content_width=100)
    parts.append(_section(group, root, "##"))
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, max_content_width=100)
        parts.append(_section(command, context, "##"))
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                child = command.commands[below]
                parts.append(_section(child, click.Context(child, info_name=below, parent=context), "###"))
    return "\n".join(parts)


def _section(command: click.Command, context: click.Context, level: str) -> str:
    help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"{level} `{context.command_path}`\n```\n{help_text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(reference())
