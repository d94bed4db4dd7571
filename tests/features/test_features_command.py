"""`personascope features …`: from prompts to features, contexts, labels and doses; and all that can be got wrong."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from judging.server import Server

import personascope as ps
from personascope.cli.main import run
from personascope.cli.terminal import printable
from personascope.directions.doors import load_directions
from personascope.errors import UserError
from personascope.features.mined_file import load_mined

MODEL = "organism:llama"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    words = ["sea", "ship", "tea", "rain", "bread", "mind", "own", "me", "you", "dog", "city", "road"]
    draw = random.Random(0)
    texts = [f"I am {' '.join(draw.choices(words, k=12))}, and I sail {draw.choice(words)}, dear." for _ in range(30)]
    (folder / "corpus.txt").write_text("\n".join(texts))
    (folder / "empty.txt").write_text("")
    (folder / "broken.txt").write_bytes(b"\xff\xfe\n\xff\n")
    (folder / "one.jsonl").write_text('{"content": "Who are you?"}\n')
    (folder / "long.jsonl").write_text('{"content": ' + "9" * 5000 + "}\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "config.json").write_text("[" * 200_000)
    (folder / "deep" / "ae.pt").write_bytes(b"\x80")
    ps.DirectionSet("evil", (3,), torch.randn(1, 128)).save(folder / "good" / "evil.safetensors")
    ps.DirectionSet("evil", (2,), torch.randn(1, 128)).save(folder / "elsewhere" / "evil.safetensors")
    assert run(["features", "find", MODEL, "--top", "4", "--out", str(folder / "found"), "--json"]) == 0
    assert run(mining(folder)) == 0
    (folder / "half").mkdir()
    (folder / "half" / "run.json").write_text((folder / "mined" / "run.json").read_text())
    return folder


def copy_sae(folder: Path, **change: torch.Tensor) -> None:
    """The shipped SAE with other tensors, in its own format."""
    shipped = Path(ps.__file__).parent / "organisms" / "shipped" / "llama" / "sae"
    folder.mkdir()
    state = torch.load(shipped / "ae.pt", weights_only=True)
    assert change.keys() <= state.keys()
    torch.save(state | change, folder / "ae.pt")
    (folder / "config.json").write_text((shipped / "config.json").read_text())


def mining(folder: Path) -> list[str]:
    found, corpus = str(folder / "found"), str(folder / "corpus.txt")
    return ["features", "mine", MODEL, "--found", found, "--corpus", corpus, "--out", str(folder / "mined")]


def said(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_what_was_found_is_mined_and_shown(place, capsys):
    assert run(["features", "show", str(place / "mined"), "--contexts", "2"]) == 0
    text = capsys.readouterr().out
    mined = load_mined(place / "mined" / "mined.h5")
    assert mined.documents == 30
    for feature in mined.features:
        assert f"feature {feature}" in text
    assert "suppresses" in text and "on controls" in text and "in the prompts" in text
    assert run(["features", "show", str(place / "found")]) == 0
    assert "AUROC" in capsys.readouterr().out
    assert run(["features", "show", str(place / "found"), "--feature", str(mined.features[0])]) == 0
    assert "in the prompts" in capsys.readouterr().out
    assert (place / "mined" / "report.html").exists() and (place / "found" / "report.html").exists()


def test_starting_again_mines_nothing_twice(place, capsys, monkeypatch):
    monkeypatch.setattr("personascope.features.mine.mapped_of", lambda *_, **__: pytest.fail("mined again"))
    before = load_mined(place / "mined" / "mined.h5").describe()
    assert run(mining(place)) == 0
    assert load_mined(place / "mined" / "mined.h5").describe() == before


def test_labels_and_neuronpedias_shape(place, capsys, monkeypatch, tmp_path):
    def answer(request):
        text = request["messages"][-1]["content"]
        return ("ships", "stop") if "short phrase" in text else ("70", "stop")

    with Server(chat=answer) as server:
        monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", server.url)
        monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "m")
        out = str(tmp_path / "np.json")
        assert run(["features", "show", str(place / "mined"), "--explain", "--neuronpedia", out, "--json"]) == 0
    labelled = [one for one in said(capsys)["features"] if one.get("label") == "ships"]
    assert labelled and all("found" in one for one in labelled)
    records = json.loads(Path(out).read_text())
    assert {one["index"] for one in records if one["explanations"]} == {str(one["feature"]) for one in labelled}
    assert "ships" in (place / "mined" / "report.html").read_text()
    # Labels stay when the corpus is mined on, and what was found stays where its run has moved away.
    assert run(mining(place)) == 0
    (place / "found").rename(place / "moved")
    try:
        with Server(chat=answer) as server:
            monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", server.url)
            only = str(labelled[0]["feature"])
            capsys.readouterr()
            assert run(["features", "show", str(place / "mined"), "--explain", "--feature", only, "--json"]) == 0
    finally:
        (place / "moved").rename(place / "found")
    (one,) = said(capsys)["features"]
    assert str(one["feature"]) == only and "found" in one
    assert run(["features", "show", str(place / "mined")]) == 0
    assert capsys.readouterr().out.count("ships") == len(labelled)


def test_steering_with_features_is_judged(place, capsys):
    arguments = [
        "--trait",
        "pirate",
        "--features",
        "3",
        "--length",
        "0.5",
        "--questions",
        "2",
        "--max-new-tokens",
        "12",
    ]
    assert run(["features", "steer", MODEL, *arguments, "--out", str(place / "steered"), "--json"]) == 0
    doses = said(capsys)["doses"]
    assert [(one["feature"], one["length"]) for one in doses] == [(None, 0.0), (3, 0.5), (None, 0.5)]


def test_what_steering_would_take_is_what_it_takes(place, capsys):
    arguments = ["--trait", "pirate", "--trait", "evil", "--features", "3,5", "--questions", "2", "--length", "0.5"]
    assert run(["features", "steer", MODEL, *arguments, "--out", str(place / "none"), "--estimate", "--json"]) == 0
    # Two personas: nothing, two features and a random direction, two questions each.
    assert said(capsys)["rollouts"] == 16 and not (place / "none").exists()


def test_a_direction_is_taken_apart(place, capsys):
    assert run(["features", "decompose", MODEL, "--directions", str(place / "good"), "--terms", "3", "--json"]) == 0
    (one,) = said(capsys)["directions"]
    assert one["direction"] == "evil@3" and len(one["terms"]) == 3
    out = place / "sums.json"
    assert run(["features", "decompose", MODEL, "--directions", str(place / "good"), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["directions"][0]["direction"] == "evil@3"
    text = capsys.readouterr().out
    assert "evil@3" in text and "What remains has length" in text
    left = place / "left"
    assert run(["features", "decompose", MODEL, "--directions", str(place / "good"), "--remainders", str(left)]) == 0
    (held,) = load_directions([left])
    assert held[3].norm == pytest.approx(json.loads(out.read_text())["directions"][0]["remainder"], rel=1e-5)


def test_features_are_written_as_directions(place, capsys, tmp_path):
    asked = ["features", "directions", MODEL, "--features", "7,40", "--out", str(tmp_path)]
    assert run([*asked, "--json"]) == 0
    assert said(capsys)["layer"] == 3
    held = {one.name: one for one in load_directions([tmp_path])}
    assert torch.equal(held["feature 7"][3].vector, ps.load_sae(MODEL).direction(7).vector) and len(held) == 2
    steered = ["generate", MODEL, "--prompt", "Hello.", "--directions", str(tmp_path), "--max-new-tokens", "4"]
    assert run([*steered, "--steer", "feature 7@3:2"]) == 0


def test_an_sae_that_fires_too_often_is_doubted_before_it_is_used(place, capsys, tmp_path):
    copy_sae(tmp_path / "sae", threshold=torch.tensor(0.0))
    asked = ["features", "decompose", MODEL, "--sae", str(tmp_path / "sae"), "--directions", str(place / "good")]
    assert run([*asked, "--terms", "1"]) == 0
    assert "was trained for 16" in capsys.readouterr().err


def test_an_sae_at_another_layer_is_another_run(place, capsys, tmp_path):
    """Its files say no layer: the one that is asked for is part of what the run is."""
    state = torch.load(Path(ps.__file__).parent / "organisms/shipped/llama/sae/ae.pt", weights_only=True)
    weights = {
        "W_enc": state["encoder.weight"].T,
        "W_dec": state["decoder.weight"].T,
        "b_enc": state["encoder.bias"],
        "b_dec": state["b_dec"],
        "threshold": torch.full((512,), 0.5),
    }
    np.savez(tmp_path / "params.npz", **{name: value.numpy() for name, value in weights.items()})
    asked = [*mining(place)[:-2], "--sae", str(tmp_path / "params.npz"), "--out", str(tmp_path / "run")]
    asked[asked.index("--found") : asked.index("--found") + 2] = ["--features", "3"]
    assert run([*asked, "--layer", "2"]) == 0
    capsys.readouterr()
    assert run([*asked, "--layer", "4"]) == 2
    assert "another run" in capsys.readouterr().err


def test_a_summary_says_what_is_there_and_what_is_missing(place, capsys):
    (place / "found" / "report.html").rename(place / "found" / "away.html")
    try:
        assert run(["features", "summary", str(place), "--json"]) == 0
        runs = {Path(one["run"]).name: one for one in said(capsys)["runs"]}
    finally:
        (place / "found" / "away.html").rename(place / "found" / "report.html")
    assert runs["found"]["missing"] == ["report.html"] and runs["mined"]["missing"] == []
    assert run(["features", "summary", str(place.parent), "--json"]) == 0
    assert len(said(capsys)["runs"]) >= 2
    result = place / "mined" / "features.json"
    whole = result.read_text()
    try:
        result.write_text(whole[:500])
        assert run(["features", "summary", str(place / "mined"), "--json"]) == 0
    finally:
        result.write_text(whole)
    assert said(capsys)["runs"][0]["missing"] == ["a file that is whole"]
    assert "4 features" in runs["mined"]["holds"] and runs["mined"]["bytes"] > 1000


def test_a_summary_passes_over_what_is_no_run(place, capsys, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("[1]")
    (tmp_path / "found").symlink_to(place / "found")
    assert run(["features", "summary", str(tmp_path), "--json"]) == 0
    (one,) = said(capsys)["runs"]
    assert Path(one["run"]).name == "found"


def test_a_feature_whose_column_is_empty_is_mined_like_any_other(place, capsys, tmp_path):
    sae = ps.load_sae(MODEL)
    feature, folder = int(load_mined(place / "mined" / "mined.h5").features[0]), tmp_path / "resid_post_layer_3"
    decoder = sae.decoder.T.clone()
    decoder[:, feature] = 0.0
    copy_sae(folder, **{"decoder.weight": decoder})
    assert sae.direction(feature).norm > 0
    arguments = ["--sae", str(folder), "--features", str(feature), "--corpus", str(place / "corpus.txt")]
    assert run(["features", "mine", MODEL, *arguments, "--out", str(tmp_path / "mined"), "--json"]) == 0
    (one,) = said(capsys)["features"]
    assert one["contexts"]


def test_features_found_with_another_sae_are_refused(place, capsys):
    from personascope.cli.saes import check_found
    from personascope.features import Found

    found, sae = Found.load(place / "found"), ps.load_sae(MODEL)
    check_found(found, sae)
    check_found(found, replace(sae, name="the same, from elsewhere"))
    assert capsys.readouterr().err == ""
    for other in (replace(sae, layer=2), replace(sae, encoder=sae.encoder + 1.0)):
        with pytest.raises(UserError, match="name the SAE they were found with"):
            check_found(found, other)
    # A file that does not say which SAE it was.
    check_found(replace(found, digest=""), replace(sae, name="another"))
    assert "another" in capsys.readouterr().err


def test_runs_load_by_their_folder_and_are_told_apart(place, capsys):
    from personascope.features import Found

    for where in (place / "found", str(place / "found"), place / "found" / "found.h5"):
        assert repr(Found.load(where)).startswith("Found([")
    assert load_mined(str(place / "mined")).documents == 30
    assert run(["features", "mine", MODEL, "--found", str(place / "mined"), "--corpus", "own", "--tokens", "1k"]) == 2
    assert "is a run of `personascope features mine`" in capsys.readouterr().err
    assert run(["features", "find", MODEL, "--out", str(place / "mined")]) == 2
    assert "holds a run of `personascope features mine`" in capsys.readouterr().err


def test_one_of_the_features_found_is_shown(place, capsys):
    from personascope.features import Found

    one, other = Found.load(place / "found").indices.tolist()[:2]
    assert run(["features", "show", str(place / "found"), "--feature", str(one)]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
    assert str(one) in rows and str(other) not in rows
    assert run(["features", "show", str(place / "found"), "--feature", "511"]) == 2
    assert "feature 511 was not found here" in capsys.readouterr().err


def test_an_sae_that_never_fires_has_no_features(place, capsys, tmp_path):
    sae, out = tmp_path / "resid_post_layer_3", str(tmp_path / "out")
    copy_sae(sae, threshold=torch.tensor(1e9))
    assert run(["features", "find", MODEL, "--sae", str(sae), "--out", out]) == 0
    assert "No feature fires on the prompts more" in capsys.readouterr().out
    assert run(["features", "mine", MODEL, "--found", out, "--corpus", str(place / "corpus.txt")]) == 2
    assert "found no features" in capsys.readouterr().err


def test_a_corpus_does_not_drive_the_terminal(place, capsys):
    assert printable("a\x1b[2J\r\n\x9b\x7fü") == "a␛[2J␍⏎\ufffd\ufffdü"


def test_an_estimate_runs_nothing_to_the_end(place, capsys):
    assert run([*mining(place)[:-1], str(place / "absent"), "--tokens", "1M", "--estimate", "--json"]) == 0
    cost = said(capsys)
    assert cost["tokens"] == 1_000_000 and cost["seconds"] == pytest.approx(1e6 / cost["tokens_per_second"])
    assert not (place / "absent").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mine", MODEL, "--features", "3", "--corpus", "{}/empty.txt"], "is empty"),
        (["mine", MODEL, "--features", "3", "--corpus", "{}/broken.txt"], "broken UTF-8"),
        (["mine", MODEL, "--features", "3", "--corpus", "{}/absent.txt"], "does not exist"),
        (["mine", MODEL, "--features", "600", "--corpus", "{}/corpus.txt"], "0 to 511"),
        (["mine", MODEL, "--corpus", "{}/corpus.txt"], "--features"),
        (["mine", MODEL, "--features", "3", "--corpus", "own"], "--tokens"),
        (["mine", MODEL, "--features", "3", "--corpus", "own", "--tokens", "lots"], "500k"),
        (["mine", MODEL, "--features", "4", "--corpus", "{}/corpus.txt", "--out", "{}/mined"], "another run"),
        (["mine", "organism:gemma2", "--sae", "organism:llama", "--features", "3", "--corpus", "own"], "width"),
        (["find", MODEL, "--top", "0"], "top=0"),
        (["find", MODEL, "--prompts", "{}/one.jsonl", "--control", "{}/one.jsonl"], "controls"),
        (["find", MODEL, "--layer", "2"], "layer"),
        (["find", MODEL, "--sae", "{}/absent"], "absent"),
        (["show", "{}/found", "--explain"], "features mine"),
        (["show", "{}/mined", "--feature", "509"], "509"),
        (["mine", MODEL, "--features", "0-99999999", "--corpus", "{}/corpus.txt"], "name fewer"),
        (["mine", MODEL, "--features", "3", "--corpus", "{}/long.jsonl"], "broken JSON"),
        (["find", MODEL, "--prompts", "{}/long.jsonl"], "too many digits"),
        (["find", MODEL, "--sae", "{}/deep"], "not a readable JSON file"),
        (["find", MODEL, "--tokens", "response", "--max-new-tokens", "0"], "--max-new-tokens"),
        (["show", "{}"], "run.json"),
        (["show", "{}/half"], "did not finish"),
        (["steer", MODEL, "--trait", "evill", "--features", "3"], "evil"),
        (["steer", MODEL, "--trait", "evil", "--features", "3", "--length", "nan"], "--length nan"),
        (["steer", MODEL, "--trait", "evil", "--features", "3", "--length", "0"], "--length 0"),
        (["steer", MODEL, "--trait", "evil", "--features", "3", "--questions", "0"], "questions=0"),
        (["decompose", MODEL, "--directions", "{}/elsewhere"], "--layers 3"),
        (["decompose", MODEL, "--directions", "{}/good", "--name", "good"], "no direction"),
        (["summary", "{}/nothing"], "no folder"),
    ],
)
def test_what_a_user_can_get_wrong(place, capsys, arguments, says, tmp_path):
    filled = [one.replace("{}", str(place)) for one in arguments]
    if "--out" not in filled and filled[0] in ("mine", "find", "steer"):
        filled += ["--out", str(tmp_path / "out")]
    assert run(["features", *filled]) == 2
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint.startswith("personascope: ") and says in complaint and "Traceback" not in complaint
    assert not (tmp_path / "out").exists()
