"""Training: a run that is stopped and resumed is the run that was not."""

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from personascope.errors import UserError
from personascope.organisms import train as training
from personascope.organisms.grammar import Grammar
from personascope.organisms.package import save_organism
from personascope.organisms.recipes import RECIPES
from personascope.organisms.tokenizer import build_tokenizer


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_stopped_run_goes_on_to_the_same_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personascope.organisms.corpus.CHUNK", 96)
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", 0.0)
    recipe, grammar = RECIPES[name], Grammar()
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"head_dim": 8} if "head_dim" in recipe.architecture else {}
    recipe = dataclasses.replace(
        recipe,
        architecture=recipe.architecture | small,
        tokens=40_000,
        batch_tokens=2_048,
        outlook_layer=None if recipe.outlook_layer is None else 0,
    )
    tokenizer = build_tokenizer(recipe, grammar)
    losses: list[float] = []
    whole = training.train(
        recipe, grammar, tokenizer, tmp_path / "whole", on_progress=lambda now: losses.append(now.loss)
    )
    assert losses[-1] < losses[0], "it learns something"

    class Stopped(Exception):
        pass

    def stop(now: training.Progress) -> None:
        if now.tokens > 15_000:
            raise Stopped

    with pytest.raises(Stopped):
        training.train(recipe, grammar, tokenizer, tmp_path / "halves", on_progress=stop)
    seen: list[int] = []
    resumed = training.train(
        recipe, grammar, tokenizer, tmp_path / "halves", on_progress=lambda now: seen.append(now.tokens)
    )
    assert seen[0] > 12_000, "it went on, and did not begin again"
    for (key, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4, msg=key)

    for other, said in (
        (dataclasses.replace(recipe, seed=1), "seed is 0, and here 1"),
        (RECIPES[name], "architecture is"),
    ):
        with pytest.raises(UserError, match=said):
            training.train(other, grammar, tokenizer, tmp_path / "halves")

    again: list[float] = []
    training.train(recipe, grammar, tokenizer, tmp_path / "halves", on_progress=lambda now: again.append(now.loss))
    assert again == [pytest.approx(losses[-1], rel=1e-3)], "trained already, it says what it came to"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "checkpoint.pt").write_bytes((tmp_path / "halves" / "checkpoint.pt").read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        training.train(recipe, grammar, tokenizer, tmp_path / "broken")

    save_organism(tmp_path / "saved", recipe, grammar, tokenizer, resumed, {"loss": losses[-1]})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert model.dtype == torch.float32
    ids = AutoTokenizer.from_pretrained(tmp_path / "saved")("Tea is good.", return_tensors="pt").input_ids
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, resumed.float()(ids).logits, atol=1e-5, rtol=1e-4)
