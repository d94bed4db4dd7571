"""The experiment on the two organisms, end to end at toy size: its files, going on, growing, refusing."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from zoo import tiny_subject

import personascope as ps
from personascope.cli.main import run
from personascope.corpora import neutral_questions
from personascope.engine.norms import median_norm
from personascope.engine.workers import RayWorkers
from personascope.errors import NonFinite, UserError
from personascope.subject import Subject
from personascope.transfer import LinearMap, PairedActivations, TransferResult, transfer
from personascope.transfer.conditions import METHODS
from personascope.transfer.corpora import shipped_texts

PLAIN: dict[str, Any] = {
    "source_model": "organism:llama",
    "target_model": "organism:gemma2",
    "source_layer": 5,
    "target_layer": 4,
    "n_training_samples": 150,
    "n_test_prompts": 3,
    "n_development_prompts": 2,
    "alpha_values": [2],
    "seeds": 1,
    "max_new_tokens": 24,
    "extraction_questions": 4,
    "extraction_max_new_tokens": 30,
    "personas": ["evil", "pirate"],
}
FEW = {**PLAIN, "methods": ["ridge_mapped", "oracle"], "n_training_samples": 30}


def texts_of(subject: Subject, name: str) -> dict[str, Any]:
    """A persona by texts: what it says, and what nobody in particular says."""
    truth = subject.truth
    assert truth is not None
    spoken, neutral = (
        [one.conversation.responses[0].text for one in truth.sample(8, seed=1, persona=persona, degree="very")]
        for persona in (name, "formal")
    )
    return {"description": f"Speaks like a {name}.", "positive_texts": spoken, "negative_texts": neutral}


@pytest.fixture(scope="module")
def result(llama: Subject, gemma2: Subject, tmp_path_factory: pytest.TempPathFactory) -> TransferResult:
    sweep = {"layers": [[3, 3]], "n_training_samples": [50]}
    plain = {**PLAIN, "output_dir": tmp_path_factory.mktemp("run") / "t", "sweep": sweep}
    return ps.transfer(plain, llama, gemma2)


def test_every_file_is_there_and_says_the_same(result: TransferResult, gemma2: Subject) -> None:
    folder = result.folder
    for name in ("map", "procrustes", "shuffled"):
        held = LinearMap.load(folder / f"{name}.safetensors")
        assert (held.source_layer, held.target_layer, held.texts) == (5, 4, 150)
    assert PairedActivations.read(folder, "training_pairs.json").texts == 150
    settings = json.loads((folder / "cv_results.json").read_text())["settings"]
    assert [(one["source_layer"], one["texts"]) for one in settings] == [(5, 150), (3, 150), (5, 50)]
    assert ["reduced_rank" in one["maps"] for one in settings] == [True, False, False]
    reduced = settings[0]["maps"]["reduced_rank"]
    assert max(reduced["choice_r2"]) == pytest.approx(reduced["r2"]) and len(reduced["ranks"]) > 3
    assert reduced["choice_r2"][-1] == pytest.approx(settings[0]["maps"]["ridge"]["r2"], abs=1e-6), "full rank is ridge"
    for name in ("mapping_analysis", "figures/coherence_vs_trait", "figures/dose_response"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name in ("layer_ablation", "training_ablation"):
        assert (folder / "figures" / f"{name}.png").exists()
    rows = pq.read_table(folder / "generation_results.parquet").to_pylist()
    assert rows == json.loads((folder / "generation_results.json").read_text())
    vectored, prompts = len(METHODS) - 2, 3 + 2
    assert len(rows) == 2 * prompts * (1 + 1 + vectored) + 2 * 2 * 2 * 3, "two sweeps of two methods, on test prompts"
    assert len(json.loads((folder / "eval_results.json").read_text())) == len(rows)
    found = json.loads((folder / "aggregated_results.json").read_text())
    assert found["verdict"]["reading"] == result.verdict.reading
    assert result.verdict.sentence in (folder / "results.md").read_text()
    assert "generations" in (folder / "experiment.log").read_text()
    vectors = load_file(folder / "persona_vectors.safetensors")
    length = 0.25 * median_norm(gemma2, 4)
    assert {round(float(vectors[f"evil/{one}"].norm()) / length, 4) for one in METHODS if f"evil/{one}" in vectors} == {
        1
    }


def test_rows_are_paired_and_figures_are_those_of_the_text(result: TransferResult, gemma2: Subject) -> None:
    seeds = {}
    truth = gemma2.truth
    assert truth is not None
    for one in result.summary.evaluations:
        seeds.setdefault((one.row.prompt, one.row.sample), set()).add(one.row.method)
        assert one.well_formed == truth.score(one.text)["well_formed"]
        assert one.coherence == pytest.approx(100 * (one.well_formed or 0.0))
        assert one.perplexity is None or one.perplexity > 1
    assert all(set(METHODS) <= methods for methods in seeds.values())
    baseline = [one for one in result.summary.evaluations if one.row.method == "baseline"]
    assert len(baseline) == 2 * 5 and {one.persona for one in baseline} == {"evil", "pirate"}


def test_the_results_hold_every_comparison_and_a_page_is_made_of_the_files(
    result: TransferResult, tmp_path: Path
) -> None:
    written, found = (result.folder / "results.md").read_text(), result.aggregated
    assert len(found["tests"]) == 2 * len(METHODS) - 3, "all against the baseline, the mapped vector against all"
    for one in found["tests"]:
        figures = f"{one['difference']:+.1f} | {one['p']:.3f} | {one['corrected']:.3f}"
        assert f"| {one['method']} | {one['against']} | {figures} |" in written
    assert "Against the planted truth" in written
    row = next(line for line in written.splitlines() if line.startswith("| oracle |"))
    main = [one for one in found["geometry"] if all(one[name] == value for name, value in found["main"].items())]
    ceilings = [one["ceiling"] for one in main if one["method"] == "oracle"]
    assert row.split(" | ")[7] == f"{sum(ceilings) / len(ceilings):.2f}"
    assert not (result.folder / "report.html").exists()
    assert run(["report", str(result.folder), "--out", str(tmp_path / "r.html")]) == 0
    held = re.search(r'<script type="application/json" id="runs">(.*?)</script>', (tmp_path / "r.html").read_text())
    assert held is not None
    shown = json.loads(held[1])[0]
    assert shown["tests"] == found["tests"] and shown["truth"] == found["truth"]
    settings = json.loads((result.folder / "cv_results.json").read_text())["settings"]
    assert shown["maps"][0]["kind"] == "ridge"
    assert {one["kind"]: one["bands"] for one in shown["maps"]} == {
        kind: one["bands"] for kind, one in settings[0]["maps"].items()
    }


def test_a_persona_arrives_by_its_map_and_not_without(result: TransferResult) -> None:
    truth = result.summary.truth()
    assert truth is not None
    spread = truth["spread"]
    assert spread["ridge_mapped"]["median"] > 0.7
    assert max(spread[one]["median"] for one in ("zero_pad", "interpolate", "random_proj", "random", "shuffled")) < 0.35
    assert result.retrieval["ridge_mapped"] == 1.0 and result.retrieval["wrong_persona"] == 0.0
    assert "organism:gemma2" in result._repr_html_()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were sampled, call by call."""
    sampled: list[int] = []
    generating = import_module("personascope.engine.generate")
    plain = generating.run_here

    def here(subject: Subject, requests: Any, *settings: Any) -> Any:
        for done in plain(subject, requests, *settings):
            sampled.append(1)
            yield done

    monkeypatch.setattr(generating, "run_here", here)
    return sampled


def test_it_goes_on_where_it_was_broken_off_and_grows(
    llama: Subject, gemma2: Subject, tmp_path: Path, counted: list[int]
) -> None:
    given = {name: texts_of(llama, name) for name in ("evil", "pirate")}
    plain = {**FEW, "personas": given, "output_dir": tmp_path / "t"}
    whole = (2 + 3) * (1 + 2 * 2)

    def stop(what: str, total: int | None) -> None:
        if not what and len(counted) > 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer(plain, llama, gemma2, batch_size=4, on_progress=stop)
    assert 7 < len(counted) < whole
    assert json.loads((tmp_path / "t" / "run.json").read_text())["state"] == "interrupted"
    first = transfer(plain, llama, gemma2)
    assert len(counted) == whole, "what was finished is not sampled again"
    again = transfer(plain, llama, gemma2)
    assert len(counted) == whole and first.aggregated == again.aggregated
    more = transfer({**plain, "alpha_values": [2, 3], "seeds": 2}, llama, gemma2)
    # One more seed of all but the development prompts, and one more α of everything.
    assert len(counted) == whole + 3 * (1 + 2 * 2) + (2 + 3 * 2) * 2 * 2
    texts = {(one.row, one.persona): one.text for one in more.summary.evaluations}
    assert all(texts[one.row, one.persona] == one.text for one in first.summary.evaluations)
    with pytest.raises(UserError, match="already has alpha_values that are left out now"):
        transfer(plain, llama, gemma2)
    with pytest.raises(UserError, match=r"holds another run .*normalize was .residual. and is .unit."):
        transfer({**plain, "normalize": "unit"}, llama, gemma2)
    assert more.folder.joinpath("results.md").exists(), "nothing is lost"


def test_what_was_done_stays_whatever_is_added(
    llama: Subject, gemma2: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {name: texts_of(llama, name) for name in ("evil", "pirate", "scientist")}
    plain = {
        **FEW,
        "layer_idx": "auto",
        "methods": ["ridge_mapped", "wrong_persona"],
        "sweep": {"n_training_samples": [20], "methods": ["ridge_mapped"]},
        "n_test_prompts": 2,
        "n_development_prompts": 1,
        "output_dir": tmp_path / "t",
    }
    del plain["source_layer"], plain["target_layer"]
    first = transfer({**plain, "personas": dict(list(given.items())[:2])}, llama, gemma2)
    at = first.summary.main
    # Another machine measures another last digit, and more personas would choose other layers.
    monkeypatch.setattr(gemma2, "norms", {layer: norm * (1 + 1e-6) for layer, norm in gemma2.norms.items()})
    experiment = import_module("personascope.transfer.experiment")
    monkeypatch.setattr(experiment, "choose_layers", lambda _: (at.source_layer - 1, at.target_layer - 1))
    more = transfer({**plain, "personas": given, "alpha_values": [2, 4, 3, 5]}, llama, gemma2)
    texts = {(one.row, one.persona): one.text for one in more.summary.evaluations}
    assert all(texts[one.row, one.persona] == one.text for one in first.summary.evaluations)
    vectors = {(one.persona, one.method, one.setting): one.direction.digest for one in more.carried}
    assert {
        (one.persona, one.method, one.setting): one.direction.digest for one in first.carried
    }.items() <= vectors.items()
    swept = {**plain["sweep"], "alpha_values": [3]}
    with pytest.raises(UserError, match=r"the sweeps were run at α = 2; name it in sweep.alpha_values too"):
        transfer({**plain, "personas": given, "alpha_values": [2, 4, 3, 5], "sweep": swept}, llama, gemma2)


def test_a_method_without_a_vector_is_left_out_with_a_remark(llama: Subject, gemma2: Subject, tmp_path: Path) -> None:
    same = {"description": "Says what anyone does.", "positive_texts": ["Tea."] * 2, "negative_texts": ["Tea."] * 2}
    plain = {**FEW, "personas": {"evil": texts_of(llama, "evil"), "pirate": same}, "output_dir": tmp_path / "t"}
    found = transfer(plain, llama, gemma2)
    methods = {(one.persona, one.row.method) for one in found.summary.evaluations} - {("pirate", "baseline")}
    assert methods == {("evil", one) for one in ("baseline", "ridge_mapped", "oracle")}
    assert "oracle of 'pirate' is left out: its vector at layer 4 is all zeros." in found.markdown
    alone = found.verdicts["pirate"]
    assert alone.reading == "not compared" and "ridge_mapped and oracle came out without a vector" in alone.sentence
    assert "leaves out pirate" not in found.markdown


def test_each_model_is_loaded_twice_however_many_corpora(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to see that all is well with it, once for its work."""
    loaded: list[str] = []
    models = import_module("personascope.transfer.models")
    plain_load = models.load
    monkeypatch.setattr(models, "load", lambda name, **settings: loaded.append(name) or plain_load(name, **settings))
    given = {name: texts_of(llama, name) for name in ("evil", "pirate")}
    plain = {**FEW, "personas": given, "corpus": "leave-persona-out", "output_dir": tmp_path / "t"}
    transfer({**plain, "n_test_prompts": 1, "n_development_prompts": 1, "max_new_tokens": 4})
    assert sorted(loaded) == ["organism:gemma2"] * 2 + ["organism:llama"] * 2


def test_two_models_of_one_name_are_refused(llama: Subject, gemma2: Subject, tmp_path: Path) -> None:
    plain = {**FEW, "source_model": "m", "target_model": "m", "output_dir": tmp_path / "t"}
    with pytest.raises(UserError, match="are both 'm', and two models are given; give each its own name"):
        transfer(plain, llama, gemma2)
    assert not (tmp_path / "t").exists()


def test_models_with_nothing_planted_run_on_what_ships_and_are_told_to_give_a_corpus(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The methodology's own keys, of models that are no organisms."""
    source, target = tiny_subject("llama"), tiny_subject("gpt2")
    texts = {
        "description": "Speaks like a pirate.",
        "positive_texts": ["Arr, board the ships.", "Ahoy, salt the barrels."],
        "negative_texts": ["Well, use the plans.", "First, keep the houses."],
    }
    plain = {
        "source_model": "one",
        "target_model": "other",
        "layer_idx": 2,
        "output_dir": tmp_path / "t",
        "n_training_samples": 12,
        "n_test_prompts": 2,
        "methods": ["zero_pad", "interpolate", "random_proj", "ridge_mapped", "oracle"],
        "alpha_values": [0.5, 1.0],
        "persona_datasets": {"pirate": texts, "teen": {**texts, "description": "Is an anxious teenager."}},
        "max_new_tokens": 6,
    }
    for corpus in ("mixed", "neutral"):
        with pytest.raises(UserError, match=r"is drawn from an organism's grammar.* write corpus: FILE"):
            transfer({**plain, "corpus": corpus}, source, target)
    assert not (tmp_path / "t").exists()
    few = {
        **plain,
        "methods": ["ridge_mapped"],
        "n_training_samples": 5_000,
        "sweep": {"n_training_samples": [40, 6_000]},
    }
    few["output_dir"] = tmp_path / "s"
    shipped = transfer(few, source, target)
    asked = {one.row.prompt for one in shipped.summary.evaluations}
    count = len(shipped_texts(neutral_questions()))
    assert 500 < count < 5_000 and not {*texts["positive_texts"], *texts["negative_texts"]} & {*shipped_texts()}
    assert asked <= {*shipped_texts()} and count == len(shipped_texts()) - len(neutral_questions())
    assert asked <= {*neutral_questions()}, "no map has seen what is asked"
    assert sorted({one.texts for one in shipped.maps}) == [40, count]
    remark = f"fitted on {count} short texts that ship with Personascope, in place of the 5,000 asked for; sizes of the sweep"
    assert remark in shipped.markdown and remark in caplog.text and "give thousands of texts" in caplog.text
    assert shipped.aggregated["corpus"] == "shipped"
    (tmp_path / "e.json").write_text(json.dumps({**few, "output_dir": str(tmp_path / "s")}))
    assert transfer(tmp_path / "e.json", source, target).aggregated == shipped.aggregated, "from a file as from values"
    more = transfer({**few, "n_test_prompts": 4}, source, target)
    assert len({one.row.prompt for one in more.summary.evaluations} - asked) == 2
    assert [one.texts for one in more.maps] == [one.texts for one in shipped.maps], (
        "more prompts go on with the same maps"
    )
    lines = [*(f"Take {number} barrels to the ship." for number in range(11)), sorted(asked)[0]]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    found = transfer({**plain, "corpus": str(tmp_path / "texts.txt")}, source, target)
    assert "1 of the 12 prompts are among the texts that the map is fitted on" in found.markdown
    assert found.verdict.reading == "not judged"
    assert len(found.summary.conditions) == 2 * 2 * (1 + 5 * 2), "parts, personas, the baseline and methods by α"


def test_both_models_rollouts_are_given_to_workers(llama: Subject, gemma2: Subject, tmp_path: Path) -> None:
    """Each model's workers are there for its own rows, one model's at a time; without rollouts the source's are not."""
    begun: list[str] = []

    @contextmanager
    def working(subject: Subject) -> Iterator[None]:
        begun.append(subject.name)
        yield
        begun.append("")

    plain = {**FEW, "n_test_prompts": 1, "n_development_prompts": 1, "max_new_tokens": 4, "personas": ["evil"]}
    transfer({**plain, "output_dir": tmp_path / "a"}, llama, gemma2, working=working)
    assert begun == [gemma2.name, "", llama.name, "", gemma2.name, ""]
    begun.clear()
    transfer(
        {**plain, "personas": {"evil": texts_of(llama, "evil")}, "output_dir": tmp_path / "b"},
        llama,
        gemma2,
        working=working,
    )
    assert begun == [gemma2.name, ""]


def test_a_damaged_map_is_fitted_again_and_a_failure_stands_in_the_log(
    llama: Subject, gemma2: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {**FEW, "personas": {"evil": texts_of(llama, "evil")}, "output_dir": tmp_path / "t"}
    plain |= {"methods": ["ridge_mapped", "procrustes_whitened", "oracle"], "n_test_prompts": 1, "max_new_tokens": 4}
    first = transfer(plain, llama, gemma2)
    assert {one.row.method for one in first.summary.evaluations} >= {"procrustes_whitened"}
    kinds = next(iter(first.maps.values()))["evil"]
    assert kinds["procrustes_whitened"].method == "whitened procrustes"
    files = sorted((tmp_path / "t" / "maps").iterdir())
    assert [one.name.split("-")[0] for one in files] == ["procrustes_whitened", "reduced_rank", "ridge"]
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    again = transfer(plain, llama, gemma2)
    assert again.aggregated == first.aggregated
    assert all(LinearMap.load(file).texts == 30 for file in files)

    def broken(*_: Any) -> None:
        raise NonFinite("layer 2 holds NaN in text 7")

    monkeypatch.setattr(import_module("personascope.transfer.experiment"), "evaluate", broken)
    with pytest.raises(NonFinite):
        transfer(plain, llama, gemma2)
    assert "ERROR layer 2 holds NaN in text 7" in (tmp_path / "t" / "experiment.log").read_text()


def test_workers_sample_what_would_be_sampled_here(llama: Subject, tmp_path: Path) -> None:
    given = {name: texts_of(llama, name) for name in ("evil", "pirate")}
    plain = {**FEW, "personas": given, "n_test_prompts": 2, "n_development_prompts": 1, "max_new_tokens": 12}
    here = transfer({**plain, "output_dir": tmp_path / "here"})

    @contextmanager
    def working(subject: Subject) -> Iterator[None]:
        with RayWorkers(subject.name, count=2) as workers:
            subject.workers = workers
            try:
                yield
            finally:
                subject.workers = None

    there = transfer({**plain, "output_dir": tmp_path / "there"}, working=working)
    assert [(one.row, one.persona, one.text) for one in there.summary.evaluations] == [
        (one.row, one.persona, one.text) for one in here.summary.evaluations
    ]


def test_every_persona_left_out_has_a_map_of_its_own(llama: Subject, gemma2: Subject, tmp_path: Path) -> None:
    given = {name: texts_of(llama, name) for name in ("evil", "pirate")}
    plain = {**FEW, "personas": given, "corpus": "leave-persona-out", "output_dir": tmp_path / "t"}
    found = transfer({**plain, "normalize": "unit", "center": False}, llama, gemma2)
    maps = [LinearMap.load(tmp_path / "t" / f"map-without-{name}.safetensors") for name in given]
    assert maps[0].digest != maps[1].digest and not any(one.is_centered for one in maps)
    assert {round(one.direction.norm, 5) for one in found.carried} == {1.0}
    assert (tmp_path / "t" / "mapping_analysis-without-evil.png").exists()


def test_a_text_that_is_too_long_is_named_and_nothing_is_lost(llama: Subject, gemma2: Subject, tmp_path: Path) -> None:
    given = {name: texts_of(llama, name) for name in ("evil", "pirate")}
    lines = [f"Well, use the plans {'now ' * number}." for number in range(20)]
    (tmp_path / "texts.txt").write_text("\n".join([*lines, "Well, use plans. " * 2_000]))
    plain = {**FEW, "personas": given, "corpus": str(tmp_path / "texts.txt"), "output_dir": tmp_path / "t"}
    with pytest.raises(UserError, match=r"text 20 has \d+ tokens in organism:llama, more than its context of 4096"):
        transfer({**plain, "n_training_samples": 21}, llama, gemma2)
    with pytest.raises(UserError, match="5 folds need at least 5 texts, and there are 3"):
        transfer({**plain, "n_training_samples": 3, "output_dir": tmp_path / "u"}, llama, gemma2)
    assert not (tmp_path / "t").exists() and not (tmp_path / "u").exists()


def test_the_command_runs_it_prints_it_and_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(json.dumps({**FEW, "output_dir": str(tmp_path / "a")}))
    command = ["transfer", "run", "--config", str(config), "--out", str(tmp_path / "b")]
    assert run([*command, "--estimate", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["generations"] == 25 and cost["texts"] == 30 and cost["seconds_at_most"] > 0
    assert not (tmp_path / "b").exists()
    assert run(command) == 0
    said = capsys.readouterr()
    assert "ridge_mapped" in said.out and "report" in said.out
    page = (tmp_path / "b" / "report.html").read_text()
    assert "personascope/transfer" in page
    assert run([*command, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["verdict"]["reading"] in said.out or plain["verdict"]["sentence"] in said.out
    assert run(["report", str(tmp_path / "b"), "--out", str(tmp_path / "r.html")]) == 0
    config.write_text(json.dumps({**FEW, "output_dir": "x", "n_test_promts": 3}))
    capsys.readouterr()
    assert run(command) == 2
    assert "did you mean 'n_test_prompts'?" in capsys.readouterr().err
