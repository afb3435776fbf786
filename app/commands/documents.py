"""Documents that people hand to a command: files, values of options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

from app.commands.shell import Shell
from workflows.yaml12 import Loader

FILE = click.option(
    "-f", "--file", "path", required=True, type=click.Path(path_type=Path), help="YAML or JSON; - for stdin."
)
"""The option of the commands that take a document."""


def register_document(shell: Shell, place: str, path: Path) -> None:
    """Register the document of a file at a place of the API; tell its name with its version."""
    document = shell.client.post(place, read_document(path))
    shell.show(document, lambda: f"Registered {document['name']} {document['version']}.")


def read_document(path: Path) -> Any:
    """A YAML or JSON file; raises `click.UsageError` with the line of the fault."""
    try:
        with click.open_file(str(path), encoding="utf-8") as file:
            return yaml.load(file, Loader=Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: {error}") from error
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error


def json_or_text(text: str) -> Any:
    """The JSON value in a text, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        # Bare words need no quotes on a command line.
        return text
