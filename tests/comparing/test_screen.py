"""Screening a dataset: ranks against the truth, and what fine-tuning on the ranks does."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import personascope as ps
from personascope.cli.main import run
from personascope.comparing.screen import Screening, screen
from personascope.corpora import Record
from personascope.extraction.extract import extract_all
from personascope.extraction.extraction import Extraction
from personascope.organisms.score import score
from personascope.statistics import auroc
from personascope.subject import Subject
from personascope.validation.screening import check_screening, fine_tune, mixed_set, rank_correlation

NAMES = ["pirate", "formal"]


@pytest.fixture(scope="module")
def directions(llama: Subject) -> Extraction:
    return extract_all(llama, NAMES, samples=1, questions=6, alphas=())


@pytest.fixture(scope="module")
def records(llama: Subject) -> list[Record]:
    return mixed_set(llama, NAMES, 48, seed=0)


@pytest.fixture(scope="module")
def screened(llama: Subject, directions: Extraction, records: list[Record]) -> Screening:
    return screen(llama, directions, records, max_new_tokens=40)


def test_samples_are_ranked_by_how_much_of_the_persona_they_hold(
    llama: Subject, records: list[Record], screened: Screening
) -> None:
    assert llama.truth is not None
    for name in NAMES:
        ranked = screened.ranked(name)
        assert sorted(row.sample for row in ranked) == list(range(len(records)))
        assert [row.difference for row in ranked] == sorted((row.difference for row in ranked), reverse=True)
        shares = [score(llama.truth.reader, records[row.sample].response or "")["shares"][name] for row in ranked]
        held = np.array(shares) > 0.3
        assert auroc(held, np.array([row.given for row in ranked])) > 0.9
        # What the model itself happens to say to the same prompt is a single draw.
        assert auroc(held, np.array([row.difference for row in ranked])) > 0.7


def test_a_sample_that_the_model_would_say_itself_differs_by_nothing(llama: Subject, directions: Extraction) -> None:
    from personascope.engine.noise import derive_seed

    prompts = ["What do you think of tea?", "How do I keep calm?"]
    own = [
        ps.generate(llama, prompt, seed=[derive_seed("own", 0, place, 0)], max_new_tokens=30, suppress_eos=False)[
            0
        ].text
        for place, prompt in enumerate(prompts)
    ]
    found = screen(llama, directions, [Record(*pair) for pair in zip(prompts, own, strict=True)], max_new_tokens=30)
    for row in found.rows:
        # The end token is read in one and not in the other.
        assert abs(row.difference) < 0.1 * abs(row.own) + 1.0


def test_equal_prompts_share_their_own_responses_and_empty_ones_are_left_out(
    llama: Subject, directions: Extraction
) -> None:
    found = screen(
        llama, directions, [Record("Hello", "Tea is good."), Record("Hello", "  "), Record("Hello", "Ahoy, matey.")]
    )
    assert found.left_out == (1,)
    one, other = (row for row in found.rows if row.persona == "pirate")
    assert one.own == other.own
    assert other.difference > one.difference
    with pytest.raises(ps.UserError, match="none of these samples"):
        found.mean("pirate", [1])
    with pytest.raises(ps.UserError, match="two directions are called"):
        screen(llama, [*directions, *directions], [Record("Hello", "Tea is good.")])
    with pytest.raises(ps.UserError, match="nothing was screened along 'evil'"):
        found.ranked("evil")


def test_fine_tuning_leaves_the_subject_alone_and_moves_the_copy(llama: Subject, records: list[Record]) -> None:
    before = {name: value.clone() for name, value in llama.model.state_dict().items()}
    tuned = fine_tune(llama, records[:16], epochs=1)
    assert all((value == before[name]).all() for name, value in llama.model.state_dict().items())
    assert any((value != before[name]).any() for name, value in tuned.model.state_dict().items())
    assert ps.generate(tuned, "Hello", max_new_tokens=5)[0].response_ids


def test_thirds_move_the_persona_in_the_order_that_was_predicted(llama: Subject, directions: Extraction) -> None:
    thirds = check_screening(llama, directions, samples=120, questions=["How are you?", "What is tea?"] * 4)
    for name in NAMES:
        shares = [one.share for one in sorted((one for one in thirds if one.persona == name), key=lambda one: one.rank)]
        assert shares[0] > max(shares[1:]) + 0.05
        # Below what the persona has unsteered two thirds differ by less than eight questions can tell.
        assert shares[1] > shares[2] - 0.03
    assert rank_correlation(thirds) >= 0.5


def test_the_command_ranks_and_says_what_it_left_out(
    directions: Extraction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in directions:
        one.save(tmp_path / "d" / f"{one.name}.safetensors")
    rows = [{"prompt": "Hello", "response": text} for text in ("Tea is good.", "Ahoy, matey.")]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = [
        "screen",
        str(tmp_path / "set.jsonl"),
        "--model",
        "organism:llama",
        "--directions",
        str(tmp_path / "d"),
    ]
    arguments += ["--max-new-tokens", "8"]
    assert run([*arguments, "--out", str(tmp_path / "run"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["ranked"]["pirate"][0]["sample"] == 1
    table = pq.read_table(tmp_path / "run" / "screen.parquet").to_pydict()
    assert len(table["difference"]) == 4
    assert run([*arguments, "--trait", "evil", "--out", str(tmp_path / "y")]) == 2
    assert "there is no direction 'evil'" in capsys.readouterr().err
    (tmp_path / "set.jsonl").write_text('{"prompt": "Hello"}\n')
    assert run([*arguments, "--out", str(tmp_path / "z")]) == 2
    assert "record 1" in capsys.readouterr().err
