"""What a newcomer types first."""

import subprocess
import sys
from importlib import import_module

import pytest

from personascope.cli.main import _COMMANDS, run


def test_the_list_of_commands_is_whole_and_needs_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    for name, (_, summary) in _COMMANDS.items():
        assert f"{name:9}  {summary}\n" in listed
    code = "import sys; from personascope.cli.main import run; run(['--help']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("False\n")
    assert run([]) == 0 and capsys.readouterr().out.strip() == listed.strip()


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_every_command_says_what_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hasattr(import_module(f"personascope.cli.{_COMMANDS[name][0]}"), "COMMAND")
    assert run([name, "--help"]) == 0
    assert f"Usage: personascope {name}" in capsys.readouterr().out


def test_a_persona_may_be_written_as_one_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["traits", "anxious teenager"]) == 0
    assert capsys.readouterr().out.startswith("anxious teenager (role)")


@pytest.mark.parametrize("group", ["features", "insert", "organisms", "persona", "transfer"])
def test_what_a_command_does_is_not_cut_off(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([group, "--help"]) == 0
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


def test_a_command_behind_dashes_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--", "traits"]) == 0
    assert "sycophantic" in capsys.readouterr().out
