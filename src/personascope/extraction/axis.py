"""The assistant axis: from the average character to the model's default one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from personascope.directions import Direction, DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Request
from personascope.errors import UserError
from personascope.judging import Judge, check_judge, judge_for
from personascope.personas import Persona, load_persona, persona_names
from personascope.subject import Subject

NAME = "assistant_axis"
# All whole ones, so that any bound can be stated; `DirectionSet.percentile` reads between them.
PERCENTILES = range(101)
_FULLY = 50.0


@dataclass(frozen=True, eq=False)
class AssistantAxis:
    """The axis with what it was made from.

    axis: per layer mean(default) − mean(roles), pointing to the default character. default, roles: mean activations of
    responses, per layer. projections: by layer, the mean projection of every response on the axis, default and roles
    together; None where the axis was made from vectors alone.
    """

    axis: DirectionSet
    default: DirectionSet
    roles: tuple[DirectionSet, ...]
    projections: Mapping[int, np.ndarray] | None = field(default=None, repr=False)

    def percentile(self, layer: int, q: float) -> float:
        """The q-th percentile (0–100) of responses' projections at a layer, in residual-stream units: a bound for
        `ps.cap`. Raises `UserError` where no responses were projected."""
        if self.projections is None:
            raise UserError("this axis was made from vectors alone and knows no projections; extract it from a model")
        if not 0 <= q <= 100:
            raise UserError(f"percentile {q:g} must be from 0 to 100")
        self.axis[layer]
        return float(np.percentile(self.projections[layer], q))

    def components(self, layer: int, k: int | None = None) -> tuple[tuple[Direction, ...], np.ndarray]:
        """Principal components of the role vectors at a layer, at length 1, and the share of variance each explains.

        Raises `UserError` for fewer than two roles.
        """
        if len(self.roles) < 2:
            raise UserError("principal components need at least two roles")
        if k is not None and k < 1:
            raise UserError(f"k={k} must be 1 or more")
        vectors = torch.stack([role[layer].vector for role in self.roles]).double()
        _, sizes, right = torch.linalg.svd(vectors - vectors.mean(dim=0), full_matrices=False)
        explained = (sizes**2 / (sizes**2).sum().clamp_min(1e-30)).numpy()
        count = min(k or len(self.roles) - 1, len(self.roles) - 1)
        found = tuple(Direction(right[row].float(), layer, f"role_pc{row + 1}") for row in range(count))
        return found, explained[:count]

    def describe(self) -> dict[str, Any]:
        """Plain values: explained variance by layer, cosine of the axis to each component, percentiles."""
        plain: dict[str, Any] = {"roles": [role.name for role in self.roles], "layers": {}}
        for layer in self.axis.layers:
            found: dict[str, Any] = {}
            if len(self.roles) > 1:
                components, explained = self.components(layer)
                found["explained_variance"] = explained.round(6).tolist()
                found["cosine_to_component"] = [round(self.axis[layer].cosine(one), 6) for one in components]
            if self.projections is not None:
                found["percentiles"] = {str(q): self.percentile(layer, q) for q in PERCENTILES}
            plain["layers"][str(layer)] = found
        return plain


def axis_of(default: DirectionSet, roles: Sequence[DirectionSet]) -> AssistantAxis:
    """The axis of mean activations that exist, such as imported role vectors.

    Raises `UserError` where layers or widths differ or there are no roles.
    """
    if not roles:
        raise UserError("the assistant axis needs at least one role")
    for role in roles:
        if role.layers != default.layers or role.vectors.shape != default.vectors.shape:
            raise UserError(f"role {role.name!r} has other layers or another width than the default character")
    mean = torch.stack([role.vectors.double() for role in roles]).mean(dim=0)
    vectors = (default.vectors.double() - mean).float()
    provenance = {"method": "mean(default) - mean(roles)", "roles": [role.name for role in roles]}
    axis = DirectionSet(NAME, default.layers, vectors, provenance={**default.provenance, **provenance})
    return AssistantAxis(axis, default, tuple(roles))


def assistant_axis(
    subject: Subject,
    roles: Sequence[str | Persona] | None = None,
    questions: int = 10,
    samples: int = 1,
    judge: str | Judge | None = "auto",
    max_new_tokens: int = 120,
    temperature: float = 1.0,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    store: Cells | None = None,
) -> AssistantAxis:
    """Play every role and none, and take mean(default) − mean(roles) of the mean response activations.

    roles: shipped ones, files or personas; all shipped roles by default. Each role answers `questions` of its questions
    under each of its positive instructions; without a system prompt the same questions are answered by default. With a
    judge, only responses that play their role (score at least 50) count. Raises `UserError` where a role keeps none.
    Source: the assistant axis (Lu et al., 2026).
    """
    Subject.check(subject)
    loaded = [load_persona(one) for one in (roles if roles is not None else _shipped_roles())]
    if not loaded:
        raise UserError("the assistant axis needs at least one role; give some, or none at all for the shipped ones")
    names = [one.name for one in loaded]
    if len(set(names)) < len(names) or "default" in names:
        raise UserError(f"roles need names of their own, and none may be called default: {', '.join(names)}")
    judge = judge_for(subject, judge, personas=loaded)
    check_judge(judge, loaded)
    chosen = tuple(range(subject.n_layers) if layers is None else sorted(map(subject.check_layer, layers)))
    asked: list[tuple[Persona | None, str | None, str]] = []
    for persona in loaded:
        for question in persona.questions[:questions]:
            asked += [
                (persona, persona.system_prompt(pair, "pos"), question) for pair in range(len(persona.instruction))
            ]
            asked.append((None, None, question))
    asked = [one for one in dict.fromkeys(asked) for _ in range(samples)]
    on_progress("playing roles", len(asked))
    requests = [
        Request(
            prompt=subject.chat.prompt(_chat(system, question)),
            seed=derive_seed("axis", seed, question, number % samples),
            max_new_tokens=max_new_tokens,
            sampling=Sampling(temperature),
            reads=True,
        )
        for number, (_, system, question) in enumerate(asked)
    ]
    rows = run_requests(subject, requests, batch_size, ("response",), chosen, lambda *_: on_progress("", None), store)
    found: dict[str | None, list[torch.Tensor]] = {None: [], **{one.name: [] for one in loaded}}
    journal = store.journal if store is not None else None
    for one in (None, *loaded):
        ours = [
            (question, row)
            for (persona, _, question), row in zip(asked, rows, strict=True)
            if persona is one and row.error is None and row.means is not None and row.response_ids
        ]
        played = [True] * len(ours)
        if one is not None and judge is not None:
            scores = judge.judge(one, [(question, row.text) for question, row in ours], journal)
            played = [score.trait is not None and score.trait >= _FULLY for score in scores]
        kept = [
            row.means[:, 0] for (_, row), plays in zip(ours, played, strict=True) if plays and row.means is not None
        ]
        if not kept:
            who = "by default" if one is None else f"as {one.name!r}"
            raise UserError(f"no response {who} can be used for the axis; raise samples or questions, or judge none")
        found[one.name if one is not None else None] = kept
    means = {name: torch.stack(kept).double().mean(dim=0).float() for name, kept in found.items()}
    provenance = {**subject.describe(), "tokens": "response", "judge": judge.name if judge else "none", "seed": seed}
    default = DirectionSet("default", chosen, means[None], provenance=provenance)
    sets = [DirectionSet(one.name, chosen, means[one.name], provenance=provenance) for one in loaded]
    made = axis_of(default, sets)
    everything = torch.stack([row for kept in found.values() for row in kept])
    projections = {
        layer: made.axis[layer].project(everything[:, place]).double().numpy() for place, layer in enumerate(chosen)
    }
    whole = AssistantAxis(made.axis, default, tuple(sets), projections)
    bounds = {str(layer): {str(q): whole.percentile(layer, q) for q in PERCENTILES} for layer in chosen}
    axis = DirectionSet(
        NAME, chosen, made.axis.vectors, choices={"percentiles": bounds}, provenance=made.axis.provenance
    )
    return AssistantAxis(axis, default, tuple(sets), projections)


def _shipped_roles() -> list[str]:
    return [name for name in persona_names() if load_persona(name).kind == "role"]


def _chat(system: str | None, question: str) -> list[dict[str, str]]:
    opening = [{"role": "system", "content": system}] if system is not None else []
    return [*opening, {"role": "user", "content": question}]
