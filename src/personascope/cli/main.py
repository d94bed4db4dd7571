"""The `personascope` command."""

import difflib
import signal
import sys
import warnings
from importlib import import_module, metadata
from typing import Annotated, NoReturn

import typer

from personascope.cli.signs import printable_lines
from personascope.errors import PersonascopeError, UserError

# typer's own base of all mistakes on the command line, which has no public name and the methods of this one.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]  # type: ignore[assignment]

# typer turns Ctrl-C into this code.
_INTERRUPTED = 130

# Where each command lives, and what it does in a few words. Only the one that is asked for is imported: some need torch,
# which takes seconds.
_COMMANDS = {
    "demo": ("demo", "extract, check and watch every trait of a shipped model"),
    "traits": ("traits", "list the shipped personas, or show one"),
    "extract": ("extract", "turn personas into directions, and measure them"),
    "watch": ("watch", "read traits token by token, and write a page"),
    "generate": ("generate", "sample a response per prompt, steered or not"),
    "persist": ("persist", "steer, let go, and measure how long a persona stays"),
    "insert": ("insert", "ask questions along conversations for a signature"),
    "features": ("features", "find, mine, show and steer with an SAE's features"),
    "transfer": ("transfer", "carry personas from one model to another"),
    "axis": ("axis", "make an assistant axis, with its role vectors"),
    "audit": ("audit", "test a judge: how steady, how fair, at what cost"),
    "diff": ("diff", "compare a fine-tune with its base along each persona"),
    "screen": ("screen", "rank a dataset by projection difference"),
    "report": ("report", "make the page of a run, or of several to compare"),
    "organisms": ("organisms", "list, train and measure the shipped models"),
    "doctor": ("doctor", "say what this machine can run, and what is missing"),
    "persona": ("persona", "draft a persona file of one's own"),
    "import": ("import_directions", "turn other tools' vectors into directions"),
    "export": ("export_directions", "write directions for other tools"),
}


def main() -> None:
    """Run a command. Exit code 0, 2 for a user's mistake, 1 for a failure, 130 for Ctrl-C or a SIGTERM, as a cluster sends
    it."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def run(arguments: list[str]) -> int:
    """Run a command with its arguments and return the exit code; errors become one sentence on stderr."""
    for before, one in zip(["", *arguments], arguments, strict=False):
        if not _is_whole(one):
            said = one.encode(errors="backslashreplace").decode()
            option = f"{before} " if before.startswith("--") else ""
            return _complain(f"{option}'{said}' is not UTF-8 text; write it in UTF-8", 2)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in _COMMANDS:
        near = difflib.get_close_matches(arguments[0], _COMMANDS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return _complain(f"there is no command {arguments[0]!r}; {hint}`personascope --help` lists all", 2)
    try:
        code = _app(arguments)(arguments, standalone_mode=False, prog_name="personascope")
    except UserError as error:
        return _complain(str(error), 2)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error)
            return 0
        command = " ".join(["personascope", *(one for one in arguments[:1] if one in _COMMANDS)])
        said = error.format_message().rstrip(".")
        return _complain(f"{said}{'' if said.endswith('?') else ';'} see `{command} --help`", 2)
    except PersonascopeError as error:
        return _complain(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        return 0
    if code == _INTERRUPTED:
        return _complain(
            "interrupted; a run folder keeps what was finished, and the same command goes on from there", code
        )
    return code if isinstance(code, int) else 0


def _is_whole(text: str) -> bool:
    """Whether a text is made of whole characters: bytes that are none reach Python as halves of some."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _app(arguments: list[str]) -> typer.Typer:
    """The app with the command that is asked for; where none is, with what each would do."""
    app = typer.Typer(
        help="Find, watch, steer, explain and transport personas in open-weight language models.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    # A callback keeps the app a group of commands even while it has a single one.
    app.callback()(_version)
    asked = next((one for one in arguments if not one.startswith("-")), None)
    if asked not in _COMMANDS:
        for name, (_, summary) in _COMMANDS.items():
            app.command(name, short_help=summary)(_nothing)
        return app
    command = import_module(f"personascope.cli.{_COMMANDS[asked][0]}").COMMAND
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=asked)
    else:
        app.command(asked)(command)
    return app


def _nothing() -> None:
    """What stands for a command in the list of all."""


def _say_version(asked: bool) -> None:
    if asked:
        print(f"personascope {metadata.version('personascope')}")
        raise typer.Exit


def _version(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_say_version)] = False,
) -> None:
    """Find, watch, steer, explain and transport personas in open-weight language models."""


def _complain(sentence: str, code: int) -> int:
    print(f"personascope: {printable_lines(sentence)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
