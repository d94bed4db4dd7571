"""The `personascope` command."""

import sys
import warnings

import click
import typer

from personascope.cli import demo, doctor, extract, generate, organisms, report, traits, watch
from personascope.cli.terminal import complain
from personascope.errors import PersonascopeError, UserError

app = typer.Typer(
    help="Find, watch, steer, explain and transport personas in open-weight language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("traits")(traits.traits)
app.command("extract")(extract.extract_command)
app.command("watch")(watch.watch_command)
app.command("generate")(generate.generate_command)
app.command("report")(report.report_command)
app.command("doctor")(doctor.doctor)
app.add_typer(organisms.app, name="organisms")


def main() -> None:
    """Run a command. Exit code 0, 2 for a user's mistake, 1 for a failure, 130 for Ctrl-C."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command with its arguments and return the exit code; errors become one sentence on stderr."""
    try:
        code = app(arguments, standalone_mode=False)
    except UserError as error:
        complain(str(error))
        return 2
    except click.UsageError as error:
        complain(error.format_message())
        return 2
    except PersonascopeError as error:
        complain(str(error))
        return 1
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted; what was finished is kept, and the same command goes on from there")
        return 130
    except BrokenPipeError:
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
