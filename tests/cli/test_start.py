"""What the first second of the command line costs and shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from embedstore.cli.main import cli
from embedstore.cli.table import COMMANDS
from tests.cli.conftest import Ran

HEAVY = (
    "torch",
    "transformers",
    "faiss",
    "sqlalchemy",
    "pydicom",
    "numpy",
    "scipy",
    "sklearn",
    "rich",
    "PIL",
)
PROBE = """
import json, sys
from embedstore.cli.main import run
status = run(sys.argv[1:])
print(json.dumps({"status": status, "modules": sorted(sys.modules)}), file=sys.stderr)
"""


def _modules(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    probed = json.loads(done.stderr.splitlines()[-1])
    assert probed["status"] == 0, done.stdout
    return set(probed["modules"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("search", "--help"),
        ("ingest", "--help"),
        ("inspect", "--help"),
        ("head", "fit", "--help"),
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = _modules(*arguments)
    assert not loaded & set(HEAVY)


def test_help_imports_no_command() -> None:
    loaded = {name for name in _modules("--help") if name.startswith("embedstore.")}
    commands = {f"embedstore.cli.{entry.target.partition(':')[0]}" for entry in COMMANDS.values()}
    assert not loaded & commands


def test_listing_encoders_does_not_import_torch() -> None:
    assert not _modules("encoders", "list") & {"torch", "transformers", "timm", "open_clip", "faiss"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_static_table_says_what_the_command_says(name: str) -> None:
    context = click.Context(cli, info_name="embedstore")
    command = cli.get_command(context, name)
    assert command is not None
    assert command.name == name
    assert command.help is not None
    assert len(COMMANDS[name].summary) <= 60
    assert COMMANDS[name].summary.endswith(".")
    first = command.help.partition("\n\n")[0]
    if name not in (
        "demo",
        "bridge",
        "label",
        "head",
        "zeroshot",
        "verify",
        "migrate",
        "search",
        "reindex",
        "compare",
    ):
        assert first == COMMANDS[name].summary
    assert not command.hidden


def test_every_option_explains_itself() -> None:
    def walk(command: click.Command, context: click.Context) -> None:
        assert command.help, command.name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, f"{command.name} {parameter.name}"
                assert parameter.help.endswith("."), f"{command.name} {parameter.name}"
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                walk(inner, context)

    walk(cli, click.Context(cli, info_name="embedstore"))


def test_no_arguments_is_help(embedstore: Callable[..., Ran]) -> None:
    ran = embedstore()
    assert ran.status == 0
    assert ran.out == embedstore("--help").out


def test_version(embedstore: Callable[..., Ran]) -> None:
    assert embedstore("--version").out == "embedstore, version 0.1.0\n"
