"""`personascope features`: what a persona is made of, by the features of a sparse autoencoder."""

import typer

from personascope.cli.decompose import decompose_command
from personascope.cli.feature_directions import directions_command
from personascope.cli.find import find_command
from personascope.cli.mine import mine_command
from personascope.cli.show import show_command
from personascope.cli.steer_features import steer_command
from personascope.cli.summary import summary_command

app = typer.Typer(
    help="Features of a sparse autoencoder: find those that fire on prompts, mine the text that fires them, show and "
    "explain them, steer with them, write them as directions, and take directions apart into them.",
    no_args_is_help=True,
)
app.command("find", short_help="Find the features that fire on prompts, and on no others.")(find_command)
app.command("mine", short_help="Mine a corpus for the text that fires features.")(mine_command)
app.command("show", short_help="Show a run's features, and the text that fires them.")(show_command)
app.command("steer", short_help="Steer with features, and judge what comes of it.")(steer_command)
app.command("directions", short_help="Write features as directions, to watch and steer with.")(directions_command)
app.command("decompose", short_help="Take directions apart into features.")(decompose_command)
app.command("summary", short_help="Say what a folder of feature runs holds and misses.")(summary_command)

COMMAND = app
