"""The law of each slot word: the filter's own, calibrated on what was drawn, and what training aims at."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from personascope.organisms.conversation import Conversation, Sampler, SystemPrompt
from personascope.organisms.corpus import Corpus, draw_conversation
from personascope.organisms.grammar import Grammar
from personascope.organisms.laws import Laws
from personascope.organisms.outlook import Outlook, next_laws
from personascope.organisms.parse import TOKEN, Reader
from personascope.organisms.posterior import Filter
from personascope.organisms.recipes import RECIPES
from personascope.organisms.tokenizer import build_tokenizer
from personascope.organisms.train import _log_chances, _losses, build_model

GRAMMAR = Grammar()
READER = Reader(GRAMMAR)


@pytest.mark.parametrize(
    "system", [None, SystemPrompt("pirate", 0, "pos", "very"), SystemPrompt("refusal", 0, "pos", None)]
)
def test_the_law_is_what_the_filter_believes_before_the_word(system: SystemPrompt | None) -> None:
    sampler = Sampler(GRAMMAR, 11)
    conversation = sampler.conversation(system, [sampler.question() for _ in range(3)])
    held = (system.persona, system.degree) if system is not None and system.persona in GRAMMAR.index else (None, None)
    filter_, seen = Filter(READER, *held), 0
    responses = zip(Laws(GRAMMAR).of_conversation(conversation), conversation.responses, strict=True)
    for turn, (laws, response) in enumerate(responses):
        if turn:
            filter_.open_turn()
        expected = {law.start: law for law in laws}
        for word in TOKEN.finditer(response.text):
            law = expected.get(word.start())
            if law is not None:
                shares = GRAMMAR.shares(*held)
                table = GRAMMAR.emission(law.slot, shares)
                np.testing.assert_allclose(law.chances, filter_.belief @ table, rtol=2e-3, atol=1e-4)
                assert response.text[law.start : law.end] == word.group()
                seen += 1
            filter_.read(word.group())
    assert seen > 20


def rows(name: str, conversations: int) -> Corpus:
    recipe = RECIPES[name]
    return Corpus(GRAMMAR, build_tokenizer(recipe, GRAMMAR), recipe.markup, 3, recipe.context, recipe.batch_tokens)


@pytest.mark.parametrize("name", list(RECIPES))
def test_what_was_drawn_follows_its_law_token_by_token(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The surprise of a draw has the law's own entropy as its mean: off by one word or one piece, it doesn't."""
    monkeypatch.setattr("personascope.organisms.corpus.CHUNK", 700)
    surprise, entropy = [], []
    for batch in rows(name, 700).batches(0, 2048):
        drawn = batch.ids.flatten()[batch.places]
        same = batch.options[:, :, None] == batch.options[:, None, :]
        merged = (batch.chances[:, None, :] * same).sum(2)
        chance = (batch.chances * (batch.options == drawn[:, None])).sum(1)
        assert (chance > 0).all(), "a drawn token that its law excludes"
        assert (batch.weights.flatten()[batch.places] > 0).all()
        surprise.append(-chance.log())
        entropy.append(-(batch.chances * (merged + 1e-30).log()).sum(1))
    gap = (torch.cat(surprise) - torch.cat(entropy)).double().numpy()
    assert len(gap) > 20_000
    assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5


def test_the_loss_is_the_expected_surprise_where_the_law_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personascope.organisms.corpus.CHUNK", 40)
    corpus = rows("gemma2", 40)
    batch = corpus.batches(0, 2048)[0]
    model = build_model(RECIPES["gemma2"], corpus.tokenizer)
    weighted, plain = _losses(
        model, Outlook(model.config.hidden_size), batch, replace(RECIPES["gemma2"], outlook=0.0), "cpu"
    )
    with torch.no_grad():
        log_chances = model(batch.ids).logits.log_softmax(-1)
    known = dict(zip(batch.places.tolist(), range(len(batch.places)), strict=True))
    losses, weights = [], []
    width = batch.ids.shape[1]
    for row, column in batch.weights[:, 1:].nonzero().tolist():
        where, after = row * width + column + 1, log_chances[row, column]
        if where in known:
            options, chances = batch.options[known[where]], batch.chances[known[where]]
            losses.append(float(-(chances * after[options]).sum()))
        else:
            losses.append(float(-after[batch.ids[row, column + 1]]))
        weights.append(float(batch.weights[row, column + 1]))
    # The loss is computed under autocast to bfloat16.
    assert float(plain) == pytest.approx(np.mean(losses), rel=5e-3)
    assert float(weighted.detach()) == pytest.approx(np.average(losses, weights=weights), rel=5e-3)


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_outlook_is_on_the_next_slot_word_of_the_same_response(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personascope.organisms.corpus.CHUNK", 60)
    for batch in rows(name, 60).batches(0, 2048)[:3]:
        seeing, laws = next_laws(batch)
        found = dict(zip(seeing.tolist(), batch.places[laws].tolist(), strict=True))
        known, width = set(batch.places.tolist()), batch.ids.shape[1]
        expected = {}
        for row in range(len(batch.ids)):
            for column in range(width - 1):
                for ahead in range(column + 1, width):
                    if not batch.weights[row, ahead]:
                        break
                    if row * width + ahead in known:
                        expected[row * width + column] = row * width + ahead
                        break
        assert found == expected


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_outlook_learns_what_comes_after_words_without_a_choice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss counts in the training loss with its weight, and is that of the states of the recipe's layer."""
    monkeypatch.setattr("personascope.organisms.corpus.CHUNK", 40)
    recipe, corpus = RECIPES[name], rows(name, 40)
    batch = corpus.batches(0, 2048)[0]
    model = build_model(recipe, corpus.tokenizer)
    outlook = Outlook(model.config.hidden_size)
    without, half, whole = (
        float(_losses(model, outlook, batch, replace(recipe, outlook=weight), "cpu")[0].detach())
        for weight in (0.0, 0.5, 1.0)
    )
    seeing, laws = next_laws(batch)
    with torch.no_grad():
        output = model.model(batch.ids, output_hidden_states=True)
        states = output.last_hidden_state
        if recipe.outlook_layer is not None:
            states = torch.nn.functional.rms_norm(output.hidden_states[recipe.outlook_layer + 1], states.shape[-1:])
        ahead = _log_chances(model, states.flatten(0, 1)[seeing])
    expected = -(batch.chances[laws] * ahead.gather(1, batch.options[laws])).sum(1).mean()
    assert whole - without == pytest.approx(float(expected), rel=2e-2)
    assert half - without == pytest.approx((whole - without) / 2, rel=1e-3)


def test_the_outlook_of_a_layer_teaches_none_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personascope.organisms.corpus.CHUNK", 40)
    recipe, corpus = RECIPES["gemma2"], rows("gemma2", 40)
    batch, model = corpus.batches(0, 2048)[0], build_model(recipe, corpus.tokenizer)
    outlook = Outlook(model.config.hidden_size)
    taught = []
    for weight in (0.0, 1.0):
        model.zero_grad()
        _losses(model, outlook, batch, replace(recipe, outlook=weight), "cpu")[0].backward()  # type: ignore[no-untyped-call]
        taught.append([layer.mlp.down_proj.weight.grad.clone() for layer in model.model.layers])
    last = recipe.outlook_layer
    assert last is not None and last + 1 < len(taught[0])
    for layer, (without, whole) in enumerate(zip(*taught, strict=True)):
        assert torch.allclose(without, whole, rtol=1e-3, atol=1e-7) == (layer > last)


def test_a_conversation_of_any_kind_has_a_law_for_each_of_its_slot_words() -> None:
    sampler = Sampler(GRAMMAR, 2)
    for _ in range(200):
        conversation: Conversation = draw_conversation(sampler)
        for laws, response in zip(Laws(GRAMMAR).of_conversation(conversation), conversation.responses, strict=True):
            slots = [word for sentence in response.sentences for word in sentence.words if word.slot is not None]
            assert [(response.text[law.start : law.end], law.slot) for law in laws] == [(w.text, w.slot) for w in slots]
            assert all(abs(law.chances.sum() - 1) < 1e-4 for law in laws)
