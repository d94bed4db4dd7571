"""Finding features: what fires on prompts, and what tells them from controls on the half that did not choose it."""

import h5py
import numpy as np
import pytest
import torch

import personascope as ps
from personascope.errors import UserError
from personascope.features import Found, find_features
from personascope.features.activation import Threshold
from personascope.features.sae import SAE
from personascope.statistics import auroc, holm, rank_sum_test

SELF = ["who are you?", "what are you?", "tell me about you", "are you there?", "do you think?", "say what you are"]
OTHER = [
    f"what is {word}?" for word in ["bread", "rain", "tea", "a-door", "chess", "wool", "a-king", "salt", "ice", "a-map"]
]


def sae_for(subject, threshold=0.1) -> SAE:
    draw = torch.Generator().manual_seed(3)
    weights = torch.nn.functional.normalize(torch.randn(40, subject.hidden_size, generator=draw), dim=1)
    activation = Threshold(torch.tensor(threshold))
    return SAE(weights, torch.zeros(40), weights, torch.zeros(subject.hidden_size), activation, layer=2, name="random")


def codes_of(subject, sae, prompts, tokens="prompt[-1]"):
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    states = ps.activations(subject, chats, layers=[2], tokens=tokens, reduce=None)
    return np.stack([sae.encode(each[:, 0]).mean(dim=0).numpy() for each in states])


def test_without_controls_it_takes_the_largest_means_over_every_prompt(subject):
    # A chat of messages has no generation header in `activations`; the same chats are given to both.
    sae = sae_for(subject)
    found = find_features(subject, sae, SELF, top=7)
    chats = [subject.chat.prompt(prompt) for prompt in SELF]
    from personascope.engine.forward import Passage, activations_of

    states = activations_of(subject, [Passage(one) for one in chats], [2], "prompt[-1]")
    codes = np.stack([sae.encode(each[:, 0]).mean(dim=0).numpy() for each in states])
    assert np.allclose(found.mean_features, codes.mean(axis=0), atol=1e-5)
    assert found.indices.tolist() == np.argsort(-codes.mean(axis=0), kind="stable")[:7].tolist()
    assert np.allclose(found.values, np.sort(codes.mean(axis=0))[::-1][:7], atol=1e-5)
    assert found.codes.shape == (6, 40) and found.activations.shape == (6, subject.hidden_size)
    assert found.contrast is None and np.allclose(found.codes.toarray(), codes, atol=1e-5)


def test_with_controls_the_half_that_reports_has_not_chosen(subject):
    found = find_features(subject, sae_for(subject), SELF, OTHER, top=5, seed=4)
    contrast = found.contrast
    ours, theirs = found.codes.toarray(), found.control_codes.toarray()
    for codes, choosing in ((ours, contrast.choosing), (theirs, contrast.choosing_controls)):
        assert 0 < len(choosing) < len(codes) and len(set(choosing.tolist())) == len(choosing)
    mine, other = ours[contrast.choosing], theirs[contrast.choosing_controls]
    labels = np.r_[np.ones(len(mine), bool), np.zeros(len(other), bool)]
    areas = [auroc(labels, np.r_[mine[:, f], other[:, f]]) if (mine[:, f] > 0).sum() >= 3 else -1.0 for f in range(40)]
    assert areas[contrast.indices[0]] == max(areas)
    rest, others = np.delete(ours, contrast.choosing, 0), np.delete(theirs, contrast.choosing_controls, 0)
    p_values = [rank_sum_test(rest[:, f], others[:, f]) for f in contrast.indices]
    assert np.allclose(contrast.p, p_values) and np.allclose(contrast.corrected, holm(p_values))
    assert np.allclose(contrast.difference, rest[:, contrast.indices].mean(0) - others[:, contrast.indices].mean(0))
    assert np.allclose(contrast.share, (rest[:, contrast.indices] > 0).mean(0))


def test_what_was_chosen_by_chance_is_not_significant_on_the_other_half(subject):
    # Prompts and controls from one urn: of many choices the best looks good where it was chosen, and only there.
    draw = np.random.default_rng(0)
    urn = ["".join(draw.choice(list("abcdefgh "), size=12)) + "?" for _ in range(60)]
    chosen, reported = [], []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(60)
        ours, theirs = [urn[i] for i in order[:20]], [urn[i] for i in order[20:]]
        found = find_features(subject, sae_for(subject), ours, theirs, top=3, seed=seed)
        values, controls = found.codes.toarray(), found.control_codes.toarray()
        mine, other = values[found.contrast.choosing], controls[found.contrast.choosing_controls]
        labels = np.r_[np.ones(len(mine), bool), np.zeros(len(other), bool)]
        chosen += [auroc(labels, np.r_[mine[:, f], other[:, f]]) for f in found.indices]
        reported += found.contrast.auroc.tolist()
    assert np.mean(chosen) > 0.65 and abs(np.mean(reported) - 0.5) < 0.1


def test_a_feature_that_fires_on_fewer_than_three_prompts_is_passed_over(subject):
    sae = sae_for(subject, threshold=1e6)
    found = find_features(subject, sae, SELF, OTHER, top=5)
    assert len(found.indices) == 0 and found.contrast.candidates == 0


@pytest.mark.parametrize("tokens", ["prompt", "response", "prompt[-1]"])
def test_features_are_read_where_they_are_asked_for(llama, tokens):
    draw = torch.Generator().manual_seed(3)
    weights = torch.randn(16, llama.hidden_size, generator=draw)
    sae = SAE(weights, torch.zeros(16), weights, torch.zeros(llama.hidden_size), Threshold(torch.tensor(0.1)), layer=2)
    found = find_features(llama, sae, SELF[:2], top=3, tokens=tokens, max_new_tokens=8)
    assert any(found.responses) == (tokens == "response")
    for trace, response in zip(found.traces, found.responses, strict=True):
        assert trace.activations.shape == (len(trace.pieces), 3) and response in "".join(trace.pieces)
        assert trace.activations[0].max() == 0.0  # BOS


def test_a_file_gives_back_what_was_found(subject, tmp_path):
    found = find_features(subject, sae_for(subject), SELF, OTHER, top=5)
    back = Found.load(found.save(tmp_path / "found.h5"))
    assert back.describe() == found.describe()
    assert (back.codes != found.codes).nnz == 0 and (back.control_codes != found.control_codes).nnz == 0
    assert np.array_equal(back.activations, found.activations) and back.sparsity == found.sparsity
    assert [one.pieces for one in back.traces] == [one.pieces for one in found.traces]
    with h5py.File(tmp_path / "found.h5") as file:
        names = {"activations", "prompts", "top_indices", "top_values", "mean_features", "all_features"}
        assert names <= set(file)
        assert {"model", "layer", "n_prompts", "dict_size"} <= set(file.attrs)


def test_a_text_with_the_character_0_in_it_is_saved(subject, tmp_path):
    found = find_features(subject, sae_for(subject), ["who \0 are you?", *SELF], top=2)
    assert Found.load(found.save(tmp_path / "found.h5")).prompts == tuple(
        one.replace("\0", "␀") for one in found.prompts
    )


def test_the_dense_form_is_read_too(subject, tmp_path):
    found = find_features(subject, sae_for(subject), SELF, top=5)
    path = found.save(tmp_path / "found.h5")
    with h5py.File(path, "a") as file:
        del file["all_features"]
        file.create_dataset("all_features", data=found.codes.toarray())
        for name in ("tokens", "sae", "sparsity"):
            del file.attrs[name]
        for name in ("responses", "traces"):
            del file[name]
    back = Found.load(path)
    assert np.array_equal(back.codes.toarray(), found.codes.toarray()) and back.n_features == 40


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"top": 0}, "top=0"),
        ({"top": 41}, "40 features"),
        ({"control": OTHER[:3]}, "controls"),
        ({"prompts": []}, "no prompts"),
        ({"tokens": "prompt[99:]"}, "selects nothing"),
    ],
)
def test_what_cannot_be_found(subject, change, says):
    settings = {"prompts": SELF, **change}
    with pytest.raises(UserError, match=says):
        find_features(subject, sae_for(subject), **settings)


def test_a_file_cut_short_is_said_to_be(subject, tmp_path):
    path = find_features(subject, sae_for(subject), SELF, top=5).save(tmp_path / "found.h5")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="cut short"):
        Found.load(path)


def test_equal_prompts_are_in_one_half(subject):
    found = find_features(subject, sae_for(subject), [*SELF, *SELF], OTHER, top=3)
    chose = {found.prompts[place] for place in found.contrast.choosing}
    reported = {text for place, text in enumerate(found.prompts) if place not in set(found.contrast.choosing.tolist())}
    assert not chose & reported and chose | reported == set(found.prompts)
    with pytest.raises(UserError, match="different"):
        find_features(subject, sae_for(subject), SELF[:1] * 8, OTHER, top=3)


def test_half_a_character_is_said_to_be_one(subject):
    with pytest.raises(UserError, match="lone surrogate"):
        find_features(subject, sae_for(subject), ["who are \ud800you?"], top=3)


@pytest.mark.parametrize("top", [0, "5", 2.5, True, 10_000])
def test_how_many_is_a_whole_number_of_features(subject, top):
    with pytest.raises(UserError, match="is not from 1 to the SAE's"):
        find_features(subject, sae_for(subject), SELF, top=top)
