"""Rollouts that were sampled elsewhere give the directions they would have given here."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import personascope as ps
from personascope.cli.main import run
from personascope.directions.doors import load_directions
from personascope.extraction.extract import extract_given
from personascope.extraction.given import read_rollouts
from personascope.extraction.rollouts import SELECTIONS, cells, judged, sample_rollouts
from personascope.extraction.splits import split_persona
from personascope.extraction.vectors import mean_difference
from personascope.judging import judge_for
from personascope.personas import load_persona
from personascope.statistics import cosine
from personascope.subject import Subject

MODEL = "organism:llama"


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
    ],
)
def test_bad_rollouts_are_named_with_their_row(rows: list[dict[str, object]], said: str, tmp_path: Path) -> None:
    with pytest.raises(ps.UserError, match="row 2") as error:
        read_rollouts(write_csv(tmp_path / "x.csv", rows), "evil")
    assert said in str(error.value)


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
