"""The assistant axis: its definition, its components, and what capping along it does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from judging.server import Server

import personascope as ps
from personascope.cli.main import run
from personascope.cli.steer import parse_steer
from personascope.extraction.axis import AssistantAxis, axis_of
from personascope.organisms.score import mean_shares
from personascope.subject import Subject

ROLES = ["pirate", "chef", "poet"]


@pytest.fixture(scope="module")
def axis(llama: Subject) -> AssistantAxis:
    return ps.assistant_axis(llama, ROLES, questions=4, max_new_tokens=60)


def role(name: str, seed: int, layers: int = 3) -> ps.DirectionSet:
    vectors = torch.randn(layers, 8, generator=torch.Generator().manual_seed(seed))
    return ps.DirectionSet(name, tuple(range(layers)), vectors)


def test_it_is_the_default_less_the_mean_of_the_roles() -> None:
    default, roles = role("default", 0), [role(str(seed), seed) for seed in (1, 2, 3)]
    made = axis_of(default, roles)
    expected = default.vectors - torch.stack([one.vectors for one in roles]).mean(dim=0)
    torch.testing.assert_close(made.axis.vectors, expected)
    with pytest.raises(ps.UserError, match="knows no projections"):
        made.percentile(0, 50)
    with pytest.raises(ps.UserError, match="at least one role"):
        axis_of(default, [])
    with pytest.raises(ps.UserError, match="other layers"):
        axis_of(default, [role("odd", 1, layers=2)])
    with pytest.raises(ps.UserError, match="at least two roles"):
        axis_of(default, roles[:1]).components(0)


def test_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    roles = [role(str(seed), seed) for seed in range(1, 7)]
    components, explained = axis_of(role("default", 0), roles).components(1)
    fitted = PCA().fit(torch.stack([one[1].vector for one in roles]).numpy())
    assert explained == pytest.approx(fitted.explained_variance_ratio_[:5], abs=1e-5)
    for one, row in zip(components, fitted.components_, strict=False):
        assert abs(float(one.vector @ torch.from_numpy(row))) == pytest.approx(1, abs=1e-4)
        assert one.norm == pytest.approx(1, abs=1e-5)


def test_default_responses_lie_high_on_it_and_roles_low(llama: Subject, axis: AssistantAxis) -> None:
    layer = 4
    assert axis.default.name == "default" and [one.name for one in axis.roles] == ROLES
    direction = axis.axis[layer]
    default = float(direction.project(axis.default[layer].vector))
    assert all(float(direction.project(one[layer].vector)) < default for one in axis.roles)
    assert axis.projections is not None
    values = axis.projections[layer]
    assert axis.percentile(layer, 25) == pytest.approx(np.percentile(values, 25))
    # The planted roles are what the axis tells from the default: their words are rarer the higher a response lies.
    assert axis.percentile(layer, 90) > axis.percentile(layer, 10)


def test_a_floor_keeps_the_model_from_the_roles(llama: Subject, axis: AssistantAxis) -> None:
    assert llama.truth is not None
    from personascope.personas import load_persona

    persona = load_persona("pirate")
    chats = [
        [{"role": "system", "content": persona.system_prompt(0, "pos")}, {"role": "user", "content": question}]
        for question in persona.eval_questions[:12]
    ]
    layer = 4
    floor = ps.cap(axis.axis[layer], floor=axis.percentile(layer, 90))
    free, capped = (ps.generate(llama, chats, steer=steer, max_new_tokens=60) for steer in (None, [floor]))
    shares = [mean_shares(llama.truth.reader, [row.text for row in rows])["pirate"] for rows in (free, capped)]
    assert shares[1] < 0.75 * shares[0]


def test_roles_need_names_of_their_own(llama: Subject) -> None:
    with pytest.raises(ps.UserError, match="names of their own"):
        ps.assistant_axis(llama, ["pirate", "pirate"])


def test_steering_by_name_knows_caps_percentiles_and_ablation(axis: AssistantAxis) -> None:
    sets = [axis.axis]
    (floor,) = parse_steer(["assistant_axis@3:floor=p25"], sets)
    assert floor.operation == "cap" and floor.floor == pytest.approx(axis.percentile(3, 25))
    (ceiling,) = parse_steer(["assistant_axis@3:ceiling=2.5:response[:4]"], sets)
    assert ceiling.ceiling == 2.5 and str(ceiling.tokens) == "response[:4]"
    assert parse_steer(["assistant_axis@3:ablate"], sets)[0].operation == "ablate"
    assert parse_steer(["assistant_axis@3:-1.5"], sets)[0].alpha == -1.5
    colon = ps.DirectionSet("pirate response[:8]", (3,), torch.ones(1, 4))
    (named,) = parse_steer(
        ["pirate response[:8]@3:1.5:response[:4]"], [colon, ps.DirectionSet("pirate", (3,), torch.ones(1, 4))]
    )
    assert named.directions[0].name == "pirate response[:8]" and str(named.tokens) == "response[:4]"
    with pytest.raises(ps.UserError, match="not a finite number"):
        parse_steer(["assistant_axis@3:floor=inf"], sets)
    for q in (0, 7, 33, 100):
        (bound,) = parse_steer([f"assistant_axis@3:ceiling=p{q}"], sets)
        assert bound.ceiling == pytest.approx(axis.percentile(3, q), abs=1e-9)
    (between,) = parse_steer(["assistant_axis@3:floor=p2.5"], sets)
    # Between whole percentiles the line is straight: off by less than the step from one to the next.
    low, high = axis.percentile(3, 2), axis.percentile(3, 3)
    assert between.floor == pytest.approx((low + high) / 2)
    assert between.floor == pytest.approx(axis.percentile(3, 2.5), abs=high - low)
    nine = {"percentiles": {"3": {str(q): axis.percentile(3, q) for q in (1, 5, 10, 25, 50, 75, 90, 95, 99)}}}
    older = ps.DirectionSet("assistant_axis", axis.axis.layers, axis.axis.vectors, choices=nine)
    assert parse_steer(["assistant_axis@3:floor=p25"], [older])[0].floor == pytest.approx(axis.percentile(3, 25))
    with pytest.raises(ps.UserError, match=r"--steer.* it knows p1, p5"):
        parse_steer(["assistant_axis@3:floor=p33"], [older])
    for text, said in {
        "p101": "from 0 to 100",
        "p-1": "from 0 to 100",
        "pnan": "from 0 to 100",
        "p": "not a number",
    }.items():
        with pytest.raises(ps.UserError, match=said):
            parse_steer([f"assistant_axis@3:floor={text}"], sets)
    with pytest.raises(ps.UserError, match="is not a number"):
        parse_steer(["assistant_axis@3:floor=low"], sets)


def test_the_command_writes_axis_roles_and_percentiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["axis", "organism:llama", "--role", "pirate", "--role", "chef", "--questions", "3"]
    assert run([*arguments, "--max-new-tokens", "40", "--out", str(tmp_path / "a"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["layers"]["3"]["explained_variance"] == [1.0]
    saved = ps.DirectionSet.load(tmp_path / "a" / "directions" / "assistant_axis.safetensors")
    assert saved.choices["percentiles"]["3"] == printed["layers"]["3"]["percentiles"]
    assert {path.stem for path in (tmp_path / "a" / "roles").iterdir()} == {"default", "pirate", "chef"}


def test_the_command_says_what_judging_will_cost_and_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["axis", "organism:llama", "--role", "pirate", "--role", "chef", "--questions", "2", "--json"]
    arguments += ["--max-new-tokens", "20", "--out", str(tmp_path / "a")]
    with Server(answer=lambda question: "5") as server:
        monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", server.url)
        monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "judge")
        arguments += ["--judge", "chat", "--judge-scale", "1-5", "--judge-prices", "1,2"]
        assert run([*arguments, "--estimate"]) == 0
        expected = json.loads(capsys.readouterr().out)["judging_at_most"]
        assert not server.bodies
        assert run(arguments) == 0
        spent = json.loads(capsys.readouterr().out)["judging"]["this_start"]
        assert "from 1" in server.bodies[0]["messages"][0]["content"]
        # Two roles, two questions, five instructions; trait and coherence.
        assert expected["calls"] == 40 >= spent["calls"] == len(server.bodies)
        assert expected["cost"] > spent["cost"] > 0
        assert json.loads((tmp_path / "a" / "judging.json").read_text())["this_start"] == spent
        assert run([*arguments, "--judge-scale", "1-7"]) == 2
