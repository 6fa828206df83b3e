"""`plugin new` writes a package that passes its own tests, and breaks them when its promises are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from embedstore.cli.main import run

pytest.importorskip("embedstore_torch")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    parent = tmp_path_factory.mktemp("plugins")
    assert run(["plugin", "new", "my-lung", "--in", str(parent)]) == 0
    return parent / "embedstore-my-lung"


def _tests(folder, *chosen):
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *chosen]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ})


def test_it_passes_its_own_tests_as_written(written):
    done = _tests(written)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout


def test_its_tests_notice_a_broken_network(written, tmp_path):
    broken = tmp_path / written.name
    subprocess.run(["cp", "-r", str(written), str(broken)], check=True)
    network = broken / "embedstore_my_lung" / "network.py"
    network.write_text(network.read_text().replace("nn.Flatten()", "nn.Flatten(), nn.Softmax(dim=0)"))
    assert "test_rows_do_not_depend_on_their_batch" in _tests(broken, "-k", "batch").stdout


def test_what_is_written_can_be_installed(written):
    project = tomllib.loads((written / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["embedstore.encoders"] == {"my-lung": "embedstore_my_lung:factory"}
    assert project["name"] == "embedstore-my-lung"
    lines = (written / "embedstore_my_lung" / "network.py").read_text().splitlines()
    assert len(lines) <= 12, "a network of ten lines"


def test_the_page_shows_what_is_written(written):
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    for module in ("network.py", "__init__.py"):
        assert f"```python\n{(written / 'embedstore_my_lung' / module).read_text()}```" in page


def test_the_answer_in_json_and_refusals(written, capsys, tmp_path):
    assert run(["plugin", "new", "other", "--in", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(tmp_path / "embedstore-other")
    assert len(found["files"]) == 5
    for name, told in (
        ("my-lung", "exists already"),
        ("starter", "is installed already"),
        ("../up", "cannot name"),
        ("Lung", "cannot name"),
        ("class", "cannot name"),
    ):
        assert run(["plugin", "new", name, "--in", str(written.parent)]) == 2
        assert told in capsys.readouterr().err
