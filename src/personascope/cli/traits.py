"""`personascope traits`: the shipped personas."""

from typing import Annotated

import typer

from personascope.cli.signs import printable_lines
from personascope.cli.terminal import JsonOption, emit, table
from personascope.personas import load_persona, persona_names


def traits(
    name: Annotated[str | None, typer.Argument(help="one persona, in full: its name or a file")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the shipped personas, or show one."""
    if name is not None:
        persona = load_persona(name)
        if as_json:
            emit(persona.model_dump())
            return
        said = [
            f"{persona.title} ({persona.kind}): {persona.description}\npositive pole: {persona.positive_pole}",
            *(
                f"\ninstruction {number}\n  pos  {pair.pos}\n  neg  {pair.neg}"
                for number, pair in enumerate(persona.instruction)
            ),
            f"\n{len(persona.questions)} questions, {len(persona.eval_questions)} eval questions; the first:",
            *(f"  {question}" for question in persona.questions[:3]),
        ]
        print(printable_lines("\n".join(said)))
        return
    personas = [load_persona(one) for one in persona_names()]
    if as_json:
        emit({"personas": [{"name": p.name, "kind": p.kind, "positive_pole": p.positive_pole} for p in personas]})
        return
    ordered = sorted(personas, key=lambda persona: (persona.kind != "trait", persona.name))
    table(
        "",
        ["name", "kind", "positive pole"],
        [[p.name, p.kind, p.positive_pole] for p in ordered],
        ["kind", "positive pole"],
    )


COMMAND = traits
