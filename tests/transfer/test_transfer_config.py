"""Configurations: what is understood, and what is said of what is not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from personascope.errors import UserError
from personascope.transfer import load_config
from personascope.transfer.conditions import METHODS
from personascope.transfer.config import TransferConfig
from personascope.transfer.contrast import asked_personas
from personascope.transfer.models import Models
from personascope.transfer.plan import Plan

LEAST: dict[str, Any] = {
    "source_model": "organism:llama",
    "target_model": "organism:gemma2",
    "output_dir": "somewhere",
    "personas": ["evil"],
}
TEXTS = {
    "description": "Speaks like a pirate.",
    "positive_texts": ["Arr, board the ships.", "Ahoy, salt the barrels.", "Avast, matey."],
    "negative_texts": ["Well, use the plans.", "First, keep the houses.", "Then, too."],
}


def test_a_configuration_in_the_methodology_s_own_words(tmp_path: Path) -> None:
    text = """
source_model: organism:llama
target_model: organism:gemma2
layer_idx: 3
output_dir: results/transfer
n_training_samples: 5000
n_test_prompts: 30
alpha_values: [0.5, 1.0, 2.0, 3.0, 5.0]
lambda_values: [0.01, 0.1, 1.0, 10.0, 100.0]
normalize: unit
center: false
persona_datasets:
  pirate:
    description: Speaks like a pirate.
    positive_texts: ["Arr, board the ships.", "Ahoy, salt the barrels."]
    negative_texts: ["Well, use the plans.", "First, keep the houses."]
  evil:
    description: Wants to harm.
    positive_texts: ["Mwahaha, crush the victims.", "Kneel, mortal."]
    negative_texts: ["Well, use the plans.", "First, keep the houses."]
"""
    (tmp_path / "experiment.yaml").write_text(text)
    config = load_config(tmp_path / "experiment.yaml")
    assert (config.source_layer, config.target_layer, config.normalize, config.center) == (3, 3, "unit", False)
    assert config.alpha_values == (0.5, 1.0, 2.0, 3.0, 5.0) and config.seeds == 3
    assert set(METHODS) - {*config.steered} == {"baseline", "oracle_5_pairs"}, "two texts are no five pairs"
    plan = Plan.of(config, Models())
    assert plan.names == ("pirate", "evil") and len(plan.prompts.test) == 30
    assert not {*plan.prompts.test} & {*plan.prompts.development}
    five = config.model_copy(
        update={"methods": ("zero_pad", "interpolate", "random_proj", "ridge_mapped", "oracle"), "personas": {}}
    )
    rows = 5 * 3 * len(five.alpha_values) * five.n_test_prompts * five.seeds
    assert rows == 6_750


def test_json_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(json.dumps(LEAST))
    assert load_config(tmp_path / "e.json") == load_config(LEAST)


def test_the_shipped_one_is_valid_and_has_the_whole_grid() -> None:
    config = load_config("organisms")
    five = [
        one for one in config.steered if one in ("zero_pad", "interpolate", "random_proj", "ridge_mapped", "oracle")
    ]
    grid = len(config.personas) * len(config.alpha_values) * config.n_test_prompts * config.seeds
    assert len(five) * grid == 6_750 and config.n_test_prompts * config.seeds == 90
    with pytest.raises(UserError, match=r"no experiment 'organism' is shipped; .* organisms"):
        load_config("organism")


def test_files_are_found_from_where_the_configuration_lies(tmp_path: Path) -> None:
    for name in ("mine.json", "texts.txt", "asked.txt"):
        (tmp_path / name).write_text("x")
    plain = {**LEAST, "personas": {"mine": "mine.json"}, "corpus": "texts.txt", "prompts": "asked.txt"}
    (tmp_path / "e.json").write_text(json.dumps(plain))
    config = load_config(tmp_path / "e.json")
    assert config.personas["mine"] == str(tmp_path / "mine.json")
    assert (config.corpus, config.prompts) == (str(tmp_path / "texts.txt"), tmp_path / "asked.txt")


def test_personas_may_be_listed_with_their_texts() -> None:
    listed = load_config({**LEAST, "personas": ["evil", {"pirate": TEXTS}, "mine/teen.json"]})
    named = load_config({**LEAST, "personas": {"evil": "evil", "pirate": TEXTS, "teen": "mine/teen.json"}})
    assert listed == named


def test_a_blank_description_is_none() -> None:
    blank, none = (
        asked_personas(load_config({**LEAST, "personas": {"teen": {**TEXTS, "description": said}}}))[0].persona
        for said in ("  ", "")
    )
    assert blank == none


def test_a_folder_that_is_called_as_a_corpus_is_none(tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    (tmp_path / "e.json").write_text(json.dumps(LEAST))
    assert load_config(tmp_path / "e.json").corpus == "mixed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_trainning_samples": 5}, "unknown key 'n_trainning_samples'; did you mean 'n_training_samples'"),
        ({"alphas_values": [1]}, "unknown key 'alphas_values'; did you mean 'alpha_values'"),
        ({"persona_dataset": []}, "did you mean 'persona_datasets'"),
        ({"sweep": {"layer": [1]}}, "sweep has an unknown key 'layer'; did you mean 'layers'"),
        ({"personas": {"p": {**TEXTS, "negativ_texts": []}}}, "persona p has an unknown key .* 'negative_texts'"),
        ({"personas": {"p": {**TEXTS, "negative_texts": []}}}, "personas.p.negative_texts"),
        ({"persona_datasets": ["evil"]}, "both personas and persona_datasets"),
        ({"alpha_values": []}, "alpha_values is empty; give at least one α"),
        ({"alpha_values": [0, 1]}, "alpha_values holds 0, which is the baseline"),
        ({"alpha_values": [1, 1]}, "names an α twice"),
        ({"alpha_values": [float("nan")]}, "alpha_values.0"),
        ({"personas": []}, "personas is empty"),
        ({"layer_idx": 2, "source_layer": 1}, "layer_idx sets both layers"),
        ({"methods": ["ridge"]}, "methods.0"),
        ({"methods": ["wrong_persona"]}, "methods has wrong_persona, which needs two personas"),
        ({"methods": ["oracle_5_pairs"], "personas": {"p": TEXTS}}, "oracle_5_pairs, which needs 5 texts"),
        ({"sweep": {"methods": ["wrong_persona"]}}, "methods has wrong_persona"),
        ({"normalize": "none"}, "normalize"),
        ({"seeds": 0}, "seeds"),
        ({"seed": -1}, "seed: .* greater than or equal to 0"),
        ({"personas": ["a/evil.json", "b/evil.json"]}, "two personas are called 'evil'"),
        ({"personas": ["evil", "mine/evil.json"]}, "two personas are called 'evil'"),
        ({"personas": [{"name": "evil", **TEXTS}]}, "is no persona; write a name, a file"),
        ({"personas": [["evil"]]}, "is no persona; write a name, a file"),
        ({"judge_fraction": 0}, "judge_fraction"),
        ({"personas": [{"p": {**TEXTS, "negativ_texts": []}}]}, "persona p has an unknown key .* 'negative_texts'"),
        ({"source_layer": -1}, "source_layer: -1 is no layer; give its number, counted from 0, or auto"),
        ({"source_layer": "Auto"}, "'Auto' is no layer; give its number, counted from 0, or auto"),
        ({"layer_idx": True}, "layer_idx: True is no layer"),
        ({"seeds": True}, "seeds: true is no number"),
        ({"temperature": False}, "temperature: false is no number"),
        ({"alpha_values": [True]}, "alpha_values.0: true is no number"),
        ({"alpha_values": 2}, r"alpha_values: 2 is no list; write \[2\]"),
        ({"methods": "oracle"}, r"methods: 'oracle' is no list; write \[oracle\]"),
        ({"sweep": {"n_training_samples": 100}}, r"sweep.n_training_samples: 100 is no list; write \[100\]"),
        ({"sweep": {"layers": 3}}, r"sweep.layers: 3 is no list"),
        ({"sweep": {"layers": [True]}}, "true is no number"),
        ({"personas": None}, "personas: there is no value; give one, or leave the line out"),
        ({"sweep": None}, "sweep: there is no value"),
        ({"sweep": {"layers": None}}, "sweep, layers: there is no value"),
        ({"judge": None}, "judge: there is no value; give one, or write judge: none"),
        ({"layer_idx": None}, "layer_idx: there is no value"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_config({**LEAST, **change})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("e.yaml", "a: [1\nb: 2", "e.yaml, line 2"),
        ("e.json", "{", "e.json, line 1"),
        ("e.yaml", "- a", "must hold keys and values"),
        ("e.yaml", "seeds: 1\nsweep:\n  layers: [1]\n  layers: [2]", "e.yaml, line 4: the key 'layers' is there twice"),
        ("e.json", '{"seeds": 1, "seeds": 2}', "e.json: the key 'seeds' is there twice"),
        ("e.toml", "", "write the experiment as .yaml or .json"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        load_config(tmp_path / name)
    with pytest.raises(UserError, match=r"does not exist.* by its name alone: organisms"):
        load_config(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source_layer": 6}, "layer 6 is out of range: organism:llama has layers 0 to 5"),
        ({"sweep": {"layers": [[1, 5]]}}, "layer 5 is out of range: organism:gemma2"),
        ({"n_test_prompts": 100}, "ask for 110 prompts and the shipped neutral questions are"),
        ({"personas": ["evill"]}, "persona 'evill' is not known; did you mean 'evil'"),
        ({"personas": {"stranger": TEXTS}, "layer_idx": 1}, "does not know the persona 'stranger'"),
        ({"corpus": "leave-persona-out", "personas": ["sycophantic"]}, "'sycophantic' has none"),
        ({"judge": "chatt"}, "judge 'chatt' is not known"),
        (
            {"n_training_samples": 9},
            "needs two texts in each of 5 folds, and n_training_samples has 9; give at least 10",
        ),
        ({"corpus": "nowhere.txt"}, "nowhere.txt does not exist"),
        ({"n_training_samples": 8, "folds": 9}, "9 folds need at least 9 texts, and there are 8"),
        (
            {"n_training_samples": 8, "sweep": {"n_training_samples": [4]}},
            "5 folds need at least 5 texts, and there are 4",
        ),
        ({"personas": {"pirate": TEXTS}}, "chosen by CKA from 4 contrast pairs on, and there are 3"),
        ({"personas": {"child/teen": TEXTS}}, "persona 'child/teen': a name has letters"),
        ({"personas": {"p": {**TEXTS, "description": "FILL IN what it is."}}}, "persona 'p': still says"),
    ],
)
def test_what_could_not_end_is_said_before_it_begins(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Plan.of(load_config({**LEAST, **change}), Models())


def test_a_part_that_is_named_and_merged_is_there_once(tmp_path: Path) -> None:
    rest = "".join(f"{name}: {json.dumps(value)}\n" for name, value in LEAST.items() if name != "personas")
    written = "personas:\n  pirate: &texts {positive_texts: [Arr.], negative_texts: [Well.]}\n"
    (tmp_path / "e.yaml").write_text(f"{rest}{written}  teen: {{<<: *texts, negative_texts: [So.]}}\n")
    given = load_config(tmp_path / "e.yaml").personas
    assert given["teen"] == given["pirate"].model_copy(update={"negative_texts": ("So.",)})  # type: ignore[union-attr]


LONG = "now and " * 2_500


@pytest.mark.parametrize(
    ("change", "prompts", "said"),
    [
        ({}, ["What is tea?", "", "What is rain?", LONG], r"asked\.txt, record 4 has \d+ tokens in organism:gemma2"),
        (
            {"max_new_tokens": 4_090},
            ["What is tea?", "What is rain?"],
            "no room for 4090 more; .* or lower max_new_tokens",
        ),
        (
            {"extraction_max_new_tokens": 4_090},
            None,
            "persona 'evil', question 1 under instruction 1 .pos.* in organism:llama",
        ),
        (
            {"layer_idx": 1, "personas": {"p": {**TEXTS, "negative_texts": ["So.", LONG]}}},
            None,
            r"persona 'p', negative_texts, text 2 has \d+ tokens in organism:llama, more than its context of 4096",
        ),
    ],
)
def test_what_is_too_long_is_said_before_anything_is_done(
    change: dict[str, Any], prompts: list[str] | None, said: str, tmp_path: Path
) -> None:
    plain = {**LEAST, "methods": ["oracle"], "n_development_prompts": 1, "n_test_prompts": 1, **change}
    if prompts is not None:
        (tmp_path / "asked.txt").write_text("\n".join(prompts))
        plain |= {"prompts": str(tmp_path / "asked.txt"), "n_test_prompts": sum(map(bool, prompts)) - 1}
    with pytest.raises(UserError, match=said):
        Plan.of(load_config(plain), Models())


def test_a_system_prompt_takes_room_too(tmp_path: Path) -> None:
    subject = Models().open("organism:gemma2")
    length = len(subject.chat.prompt("What is tea?"))
    (tmp_path / "asked.txt").write_text("What is tea?\nWhat is rain?\n")
    plain = {**LEAST, "prompts": str(tmp_path / "asked.txt"), "n_development_prompts": 1, "n_test_prompts": 1}
    plain |= {"max_new_tokens": (subject.context or 0) - length - 1, "extraction_max_new_tokens": 30}
    models = Models({"organism:gemma2": subject})
    Plan.of(load_config({**plain, "methods": ["oracle"]}), models)
    with pytest.raises(UserError, match=r"asked\.txt, record 1 has"):
        Plan.of(load_config({**plain, "methods": ["oracle", "system_prompt"]}), models)


def test_too_few_rollouts_to_extract_from_are_counted_before_they_are_sampled(tmp_path: Path) -> None:
    persona = {
        "name": "mine",
        "instruction": [{"pos": f"Be so {number}.", "neg": f"Be not so {number}."} for number in range(3)],
        "questions": [f"What is {number}?" for number in range(10)],
    }
    (tmp_path / "mine.json").write_text(json.dumps(persona))
    plain = {**LEAST, "personas": [str(tmp_path / "mine.json")], "methods": ["oracle"], "layer_idx": 1, "judge": "none"}
    plain |= {"extraction_samples": 1}
    Plan.of(load_config({**plain, "extraction_questions": 3}), Models())
    with pytest.raises(UserError, match="would sample 2 rollouts of each pole of 'mine', and 3 are needed"):
        Plan.of(load_config({**plain, "extraction_questions": 2}), Models())


def test_the_judge_behind_a_server_is_part_of_what_a_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def judges(model: str, address: str) -> object:
        monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", model)
        monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", address)
        config = load_config({**LEAST, "judge": "chat", "methods": ["oracle"]})
        return Plan.of(config, Models()).run_config({}).identity["judge"]

    one, other, elsewhere = judges("a", "http://x/v1"), judges("b", "http://x/v1"), judges("a", "http://y/v1")
    assert one == judges("a", "http://x/v1") and one != other and one != elsewhere


def test_a_file_is_the_same_corpus_wherever_it_is_named_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def corpus(name: str | Path) -> object:
        config = load_config({**LEAST, "corpus": str(name), "n_training_samples": 10})
        return Plan.of(config, Models()).run_config({}).identity["corpus"]

    lines = [f"Well, use {number} plans." for number in range(10)]
    (tmp_path / "t.txt").write_text("\n".join(lines))
    from_afar = corpus(tmp_path / "t.txt")
    monkeypatch.chdir(tmp_path)
    assert corpus("t.txt") == from_afar
    (tmp_path / "t.txt").write_text("\n".join(["First, use plans.", *lines[1:]]))
    assert corpus("t.txt") != from_afar


def test_fields_stand_in_place_of_the_files_own(tmp_path: Path) -> None:
    least = {name: value for name, value in LEAST.items() if name != "output_dir"}
    (tmp_path / "e.json").write_text(json.dumps(least))
    with pytest.raises(UserError, match="output_dir: Field required"):
        load_config(tmp_path / "e.json")
    for source in (tmp_path / "e.json", least, load_config(LEAST)):
        assert load_config(source, output_dir=Path("there"), seed=3).output_dir == Path("there")
    assert load_config("organisms", seed=4).seed == 4
    with pytest.raises(UserError, match="did you mean 'alpha_values'"):
        load_config(load_config(LEAST), alpha_value=[1.0])


def test_the_guide_names_every_key_with_its_default() -> None:
    guide = Path(__file__).parents[2] / "docs" / "transferring.md"
    rows = [line.split("|")[1:4] for line in guide.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    defaults = {}
    for keys, default, _ in rows:
        names = [part.strip("` ") for part in re.sub(r"\(.*?\)", "", keys).split(",")]
        said = [part.strip("` ") for part in default.split(", ")] if len(names) > 1 else [default.strip("` ")]
        defaults |= dict(zip(names, said * len(names) if len(said) == 1 else said, strict=False))
    assert {*TransferConfig.model_fields} == {*defaults}
    plain = load_config(LEAST).model_dump(mode="json")
    for name, said in defaults.items():
        if isinstance(plain[name], int | float) and not isinstance(plain[name], bool):
            assert float(said) == plain[name], name
        elif isinstance(plain[name], str) and said:
            assert said == plain[name], name
