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
app.command("find")(find_command)
app.command("mine")(mine_command)
app.command("show")(show_command)
app.command("steer")(steer_command)
app.command("directions")(directions_command)
app.command("decompose")(decompose_command)
app.command("summary")(summary_command)

COMMAND = app
