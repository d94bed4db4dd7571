"""The experiment on the two organisms, end to end at toy size: its files, going on, growing, refusing."""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

import personascope as ps
from personascope.cli.main import run
from personascope.engine.norms import median_norm
from personascope.errors import UserError
from personascope.subject import Subject
from personascope.transfer import LinearMap, PairedActivations, TransferResult, transfer
from personascope.transfer.conditions import METHODS

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
    (tmp_path / "texts.txt").write_text("Well, use the plans.\n" * 20 + "Well, use plans. " * 2_000)
    plain = {**FEW, "personas": given, "corpus": str(tmp_path / "texts.txt"), "output_dir": tmp_path / "t"}
    with pytest.raises(UserError, match=r"text 20 has \d+ tokens in organism:llama, more than its context of 4096"):
        transfer({**plain, "n_training_samples": 21}, llama, gemma2)
    with pytest.raises(UserError, match="5 folds need at least 5 texts, and there are 3"):
        transfer({**plain, "n_training_samples": 3, "output_dir": tmp_path / "u"}, llama, gemma2)


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
