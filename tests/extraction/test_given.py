"""Rollouts that were sampled elsewhere give the directions they would have given here."""

import csv
import importlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from judging.server import Server

import personascope as ps
from personascope.cli.main import run
from personascope.directions.doors import load_directions
from personascope.extraction.doubts import doubts
from personascope.extraction.extract import extract_given
from personascope.extraction.given import read_rollouts
from personascope.extraction.rollout_table import rollout_table
from personascope.extraction.rollouts import SELECTIONS, cells, judged, sample_rollouts
from personascope.extraction.splits import split_persona
from personascope.extraction.vectors import mean_difference
from personascope.judging import judge_for
from personascope.personas import Persona, load_persona
from personascope.statistics import cosine
from personascope.subject import Subject

MODEL = "organism:llama"
# By its name: in its package the function of that name stands before it.
extract_module = importlib.import_module("personascope.extraction.extract")


@pytest.fixture(scope="module")
def table(llama: Subject) -> list[dict[str, object]]:
    """Rows of a persona-vectors CSV, sampled and judged here."""
    persona = load_persona("pirate")
    wanted = [
        cell for cell in cells(persona, split_persona(persona, 20), 1) if cell.split == "extract" and cell.pair < 2
    ]
    rollouts = sample_rollouts(llama, wanted, [0], SELECTIONS, 80, 1.0, 0)
    rows = []
    for number, one in enumerate(judged(rollouts, persona, judge_for(llama, "lexicon"))):
        assert one.judgement is not None
        rows.append(
            {
                "question": one.cell.question,
                "prompt": one.passage.prompt.text,
                "answer": one.answer,
                "question_id": f"pirate_{number}_{one.cell.pole}_0",
                "pirate": one.judgement.trait,
                "coherence": one.judgement.coherence,
            }
        )
    return rows


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_directions_from_a_csv_are_the_means_of_its_answers(
    llama: Subject, table: list[dict[str, object]], tmp_path: Path
) -> None:
    given = read_rollouts(write_csv(tmp_path / "pirate.csv", table), "pirate")
    assert [one.pole for one in given] == [str(row["question_id"]).split("_")[-2] for row in table]
    found = extract_given(llama, "pirate", given, layers=[3])[0]
    assert found.provenance["judge"] == "the rollouts' own scores"
    assert found.quality[3]["auroc"] > 0.9
    kept = [one for one in given if one.trait is not None and (one.trait >= 50) == (one.pole == "pos")]
    means = {
        pole: ps.activations(
            llama,
            [
                [*_messages(llama, one.question, pole), {"role": "assistant", "content": one.answer}]
                for one in kept
                if one.pole == pole
            ],
            layers=[3],
            tokens="turn[2]",
        )
        for pole in ("pos", "neg")
    }
    # Of all questions, where the file's direction is of three fifths of them, and with markup: alike, not equal.
    whole = mean_difference(means["pos"], means["neg"])
    assert cosine(whole[0].numpy(), found[3].vector.numpy()) > 0.9


def _messages(llama: Subject, question: str, pole: str) -> list[dict[str, str]]:
    system = load_persona("pirate").system_prompt(0, pole)  # type: ignore[arg-type]
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


def test_a_table_and_a_csv_give_the_same(llama: Subject, table: list[dict[str, object]], tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", table)
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet")
    one, other = (
        extract_given(llama, "pirate", read_rollouts(tmp_path / name, "pirate"), layers=[2, 3])[0]
        for name in ("a.csv", "a.parquet")
    )
    assert torch.equal(one.vectors, other.vectors)


def test_the_command_takes_rollouts_and_several_selections(table: list[dict[str, object]], tmp_path: Path) -> None:
    file = write_csv(tmp_path / "pirate.csv", table)
    command = ["extract", MODEL, "--trait", "pirate", "--rollouts", str(file), "--out", str(tmp_path / "run")]
    assert run([*command, "--tokens", "response", "--tokens", "prompt[-1]"]) == 0
    found = {one.name: one for one in load_directions(tmp_path / "run")}
    assert set(found) == {"pirate", "pirate prompt[-1]"}
    assert found["pirate prompt[-1]"].provenance["tokens"] == "prompt[-1]"
    assert not torch.equal(found["pirate"].vectors, found["pirate prompt[-1]"].vectors)


def test_thinking_is_left_out_of_what_is_judged(llama: Subject, table: list[dict[str, object]], tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("question", "prompt", "answer", "question_id")} for row in table]
    for row in rows:
        row["answer"] = f"<think>Should I?\nYes.</think>{row['answer']}"
    given = read_rollouts(write_csv(tmp_path / "t.csv", rows), "pirate")
    found = extract_given(llama, "pirate", given, layers=[3], judge="lexicon")[0]
    assert found.provenance["judge"] == "lexicon"
    assert found.provenance["kept"]["extract"]["pos"] > 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"question": "a", "answer": "b", "question_id": "evil_0_pos_0"}],
            "no column 'prompt'; it has question, answer",
        ),
        ([{"prompt": "a", "answer": "b"}], "says which pole"),
        ([{"prompt": "a", "answer": "b", "pole": "up"}], "'up' is neither pos nor neg"),
        ([{"prompt": "a", "answer": "b", "pole": "pos", "evil": "high"}], "evil is 'high' and no number"),
        ([{"prompt": "a", "answer": "b", "pole": "pos", "evil": "inf"}], "x.csv, row 2: evil is 'inf', and scores are"),
        ([{"prompt": "a", "answer": "b", "pole": "pos", "coherence": "-inf"}], "coherence is '-inf', and scores are"),
        ([{"prompt": "a", "answer": "b", "pole": "pos", "evil": "730"}], "evil is '730', and scores are from 0 to 100"),
        ([{"prompt": "a", "answer": "b", "pole": "pos", "split": "train"}], "split 'train' is none of extract"),
        ([{"question": "q", "prompt": "a", "answer": "b", "pole": "pos", "pair": "x"}], "pair is 'x' and no number"),
    ],
)
def test_bad_rollouts_are_named_with_their_row(rows: list[dict[str, object]], said: str, tmp_path: Path) -> None:
    with pytest.raises(ps.UserError, match="row 2") as error:
        read_rollouts(write_csv(tmp_path / "x.csv", rows), "evil")
    assert said in str(error.value)


@pytest.mark.parametrize("prompt", [7, 1.5, {"role": "user"}])
def test_prompts_of_a_table_that_are_neither_text_nor_chats_are_named(prompt: object, tmp_path: Path) -> None:
    row = {"question": "a", "prompt": prompt, "answer": "b", "pole": "pos"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")
    with pytest.raises(ps.UserError, match=r"row 1: prompt is .* neither text nor a list of messages"):
        read_rollouts(tmp_path / "x.parquet", "evil")


def test_too_few_questions_are_an_error_that_says_so(
    llama: Subject, table: list[dict[str, object]], tmp_path: Path
) -> None:
    few = [row for row in table if row["question"] == table[0]["question"]]
    given = read_rollouts(write_csv(tmp_path / "x.csv", few), "pirate")
    with pytest.raises(ps.UserError, match="answer 1 questions"):
        extract_given(llama, "pirate", given)
    for name, said in {"x.json": "no known kind", "none.csv": "does not exist"}.items():
        with pytest.raises(ps.UserError, match=said):
            read_rollouts(tmp_path / name, "pirate")


@pytest.mark.parametrize("declined", ["nan", ""])
def test_what_the_judge_declined_to_score_drops(
    llama: Subject, table: list[dict[str, object]], declined: str, tmp_path: Path
) -> None:
    whole = extract_given(llama, "pirate", read_rollouts(write_csv(tmp_path / "a.csv", table), "pirate"), layers=[3])[0]
    rows = [{**row, "coherence": declined} if place % 7 == 0 else row for place, row in enumerate(table)]
    less = extract_given(llama, "pirate", read_rollouts(write_csv(tmp_path / "b.csv", rows), "pirate"), layers=[3])[0]
    gone = sum(
        float(row["coherence"]) >= 50 and (float(row["pirate"]) >= 50) == ("pos" in str(row["question_id"]))  # type: ignore[arg-type]
        for row in table[::7]
    )
    assert gone > 3
    assert _kept(less) == _kept(whole) - gone
    assert doubts(less) == doubts(whole)


def _kept(one: ps.DirectionSet) -> int:
    return sum(count for split in one.provenance["kept"].values() for count in split.values())


def test_what_a_file_leaves_open_is_said(llama: Subject, table: list[dict[str, object]], tmp_path: Path) -> None:
    def found(*without: str, judge: str = "none") -> ps.DirectionSet:
        rows = [{key: value for key, value in row.items() if key not in without} for row in table]
        given = read_rollouts(write_csv(tmp_path / "x.csv", rows), "pirate")
        return extract_given(llama, "pirate", given, layers=[3], judge=judge)[0]

    assert not any("judge" in said for said in doubts(found()))
    assert "coherence was not judged" in doubts(found("coherence"))[0]
    unfiltered = found("pirate", "coherence")
    assert (
        doubts(unfiltered)[0] == "no judge, and the rollouts have no scores in a column 'pirate': every rollout counts"
    )
    assert unfiltered.provenance["judge"] == "none" and _kept(unfiltered) == len(table)
    assert not any("no judge" in said for said in doubts(found("pirate", judge="lexicon")))
    other = [{"evil" if key == "pirate" else key: value for key, value in row.items()} for row in table]
    given = read_rollouts(write_csv(tmp_path / "y.csv", other), "pirate")
    with pytest.raises(ps.UserError, match="hold scores of 'evil', none of 'pirate'"):
        extract_given(llama, "pirate", given, layers=[3])
    assert extract_given(llama, "pirate", given, layers=[3], judge="lexicon")[0].provenance["judge"] == "lexicon"


def test_what_nobody_judged_is_written_as_such(llama: Subject, table: list[dict[str, object]], tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != "coherence"} for row in table]
    given = read_rollouts(write_csv(tmp_path / "x.csv", rows), "pirate")
    written = rollout_table(extract_given(llama, "pirate", given, layers=[3]).rollouts)
    assert "coherence" not in written.column_names
    pq.write_table(written, tmp_path / "again.parquet")
    again = extract_given(llama, "pirate", read_rollouts(tmp_path / "again.parquet", "pirate"), layers=[3])[0]
    assert "coherence was not judged" in doubts(again)[0]


def test_a_persona_cannot_be_called_as_a_column_is(table: list[dict[str, object]], tmp_path: Path) -> None:
    with pytest.raises(ps.UserError, match=r"has a column 'sample' that is no score.*rename the persona"):
        read_rollouts(write_csv(tmp_path / "x.csv", table), "sample")


def test_a_model_without_a_template_takes_templated_texts(
    llama: Subject, table: list[dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = read_rollouts(write_csv(tmp_path / "x.csv", table), "pirate")
    monkeypatch.setattr(llama.tokenizer, "chat_template", None)
    found = extract_given(llama, "pirate", given, layers=[3])[0]
    assert found.quality[3]["token_auroc"] > 0.5


def test_scores_of_a_file_are_said_to_count_where_a_judge_is_asked_for(
    table: list[dict[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path / "pirate.csv", table)
    command = ["extract", MODEL, "--trait", "pirate", "--rollouts", str(file), "--layers", "3"]
    assert run([*command, "--judge", "lexicon", "--out", str(tmp_path / "run")]) == 0
    assert "has scores in its column 'pirate', and they count" in " ".join(capsys.readouterr().err.split())
    assert run(["extract", MODEL, "--trait", "pirate", "--generate-model", "x"]) == 2
    assert "say which with --generate-with" in " ".join(capsys.readouterr().err.split())


def test_a_share_of_given_rollouts_is_judged_as_was_estimated(
    table: list[dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{key: value for key, value in row.items() if key not in ("pirate", "coherence")} for row in table]
    file = write_csv(tmp_path / "x.csv", rows)
    command = ["extract", MODEL, "--trait", "pirate", "--rollouts", str(file), "--judge", "chat", "--layers", "3"]
    command += ["--judge-fraction", "0.25", "--json"]
    with Server(answer=lambda question: "90" if "Arr" in question or "matey" in question else "60") as server:
        monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", server.url)
        monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "judge")
        assert run([*command, "--estimate"]) == 0
        expected = json.loads(capsys.readouterr().out)["judging_at_most"]["calls"]
        assert run([*command, "--out", str(tmp_path / "run")]) in (0, 2)
        assert 0 < len(server.bodies) < 1.6 * expected < 1.6 * len(rows)


def test_options_that_only_sampling_has_a_use_for_are_said(
    table: list[dict[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path / "pirate.csv", table)
    command = ["extract", MODEL, "--trait", "pirate", "--rollouts", str(file), "--layers", "3"]
    command += ["--out", str(tmp_path / "run")]
    assert run([*command, "--samples", "4", "--eval-judge", "none"]) == 0
    assert "--samples, --eval-judge changes nothing" in " ".join(capsys.readouterr().err.split())
    assert run(command) == 0
    assert "changes nothing" not in capsys.readouterr().err


def test_a_file_of_other_contents_is_another_run(
    table: list[dict[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path / "pirate.csv", table)
    command = ["extract", MODEL, "--trait", "pirate", "--layers", "3", "--out", str(tmp_path / "run"), "--rollouts"]
    assert run([*command, str(file)]) == 0
    moved = file.rename(tmp_path / "moved.csv")
    assert run([*command, str(moved)]) == 0
    write_csv(moved, table[:-1])
    capsys.readouterr()
    assert run([*command, str(moved)]) == 2
    assert "holds another run (rollouts was" in " ".join(capsys.readouterr().err.split())


def test_what_an_extraction_sampled_gives_its_directions_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sampling = ["--samples", "2", "--questions", "4", "--max-new-tokens", "60", "--judge-fraction", "0.8"]
    command = ["extract", MODEL, "--trait", "formal", "--trait", "pirate", *sampling]
    assert run([*command, "--out", str(tmp_path / "a")]) == 0
    table = str(tmp_path / "a" / "rollouts.parquet")
    again = ["extract", MODEL, "--trait", "pirate", "--rollouts", table, "--out", str(tmp_path / "b")]
    assert run(again) == 0
    first = {one.name: one for one in load_directions(tmp_path / "a")}["pirate"]
    (second,) = load_directions(tmp_path / "b")
    for layer in first.layers:
        assert first[layer].cosine(second[layer]) > 0.999
    for counted in ("kept", "sampled"):
        assert first.provenance[counted] == second.provenance[counted]
    # Its own table, and a second start, which reads nothing from the model again.
    monkeypatch.setattr("personascope.extraction.passages.means_of", lambda *_, **__: pytest.fail("read again"))
    assert run(again) == 0
    (third,) = load_directions(tmp_path / "b")
    assert torch.equal(second.vectors, third.vectors)
    assert str(read_rollouts(tmp_path / "b" / "rollouts.parquet", "pirate")) == str(read_rollouts(table, "pirate"))
    capsys.readouterr()
    assert run(["extract", MODEL, "--trait", "evil", "--rollouts", table, "--out", str(tmp_path / "c")]) == 2
    assert "holds rollouts of formal, pirate and none of 'evil'" in " ".join(capsys.readouterr().err.split())


def test_a_persona_that_failed_may_be_left_out_of_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = extract_module.make_directions

    def failing(subject: Subject, persona: Persona, *rest: object) -> object:
        if persona.name == "evil":
            raise ps.UserError("too few of 'evil' survive")
        return real(subject, persona, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(extract_module, "make_directions", failing)
    command = ["extract", MODEL, "--questions", "3", "--samples", "1", "--max-new-tokens", "40", "--layers", "3"]
    command += ["--eval-judge", "none", "--out", str(tmp_path / "run"), "--trait", "pirate"]
    assert run([*command, "--trait", "evil"]) == 2
    assert "too few of 'evil' survive" in capsys.readouterr().err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["state"] == "partly failed" and list(record["failed"]) == ["evil"]
    assert {row["persona"] for row in pq.read_table(tmp_path / "run" / "rollouts.parquet").to_pylist()} == {
        "pirate",
        "evil",
    }
    assert run(command) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "finished"
    assert run([*command[:-1], "evil"]) == 2
    assert "left out now" in " ".join(capsys.readouterr().err.split())
