"""Mining: every token scored, the same whatever the batches and however often it is interrupted."""

import json

import h5py
import numpy as np
import pytest
import torch

import personascope as ps
from personascope.corpora import texts_corpus
from personascope.errors import UserError
from personascope.features import mine_features
from personascope.features.activation import Threshold, TopK
from personascope.features.mined_file import load_mined, save_mined
from personascope.features.own_text import own_corpus
from personascope.features.sae import SAE
from personascope.features.windows import windows
from personascope.runs.journal import Journal

FEATURES = [4, 0, 17]


def sae_for(subject, activation=None, layer=1) -> SAE:
    """Random features, about half of whose codes are above their threshold."""
    draw = torch.Generator().manual_seed(3)
    weights = torch.nn.functional.normalize(torch.randn(24, subject.hidden_size, generator=draw), dim=1)
    nothing = torch.zeros(subject.hidden_size)
    return SAE(weights, torch.zeros(24), weights, nothing, activation or Threshold(torch.tensor(0.1)), layer=layer)


def texts(count: int = 40) -> list[str]:
    draw = np.random.default_rng(0)
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "and",
        "saw",
        "some",
        "birds",
        "fly",
        "over",
        "houses",
        "in",
        "spring",
    ]
    return [" ".join(draw.choice(words, size=draw.integers(1, 60))) for _ in range(count)]


def summary(mined):
    return (
        {
            feature: [(one.document, one.position, one.ids, round(one.score, 3)) for one in held]
            for feature, held in mined.contexts.items()
        },
        {
            feature: {octave: [(one.document, one.position) for one in some] for octave, some in held.items()}
            for feature, held in mined.examples.items()
        },
        [(one.document, one.position, one.ids) for one in mined.sample],
        mined.tally.tokens,
        mined.tally.fired.tolist(),
        mined.documents,
    )


@pytest.mark.parametrize("activation", [None, TopK(5)], ids=["threshold", "topk"])
def test_it_finds_what_a_search_over_every_token_finds(subject, activation):
    sae, corpus = sae_for(subject, activation), texts()
    mined = mine_features(subject, sae, corpus, FEATURES, top=6, context=12)
    best = {feature: {} for feature in FEATURES}
    fired, tokens = np.zeros(len(FEATURES), int), 0
    for text in corpus:
        (states,) = ps.activations(subject, [text], layers=[1], tokens="all", reduce=None)
        first = int(subject.tokenizer(text)["input_ids"][0] == subject.tokenizer.bos_token_id)
        codes = sae.encode(states[first:, 0])[:, FEATURES].numpy()
        fired += (codes > 0).sum(axis=0)
        tokens += len(codes)
        for column, feature in enumerate(FEATURES):
            place = int(codes[:, column].argmax()) if len(codes) else 0
            if len(codes) and codes[place, column] > 0:
                ids = subject.tokenizer(text)["input_ids"][first:]
                copy = tuple(ids[max(0, place - 7) : place + 1])
                best[feature][copy] = max(best[feature].get(copy, 0.0), float(codes[place, column]))
    assert mined.tally.tokens == tokens and mined.tally.fired.tolist() == fired.tolist()
    for feature in FEATURES:
        expected = sorted(best[feature].values(), reverse=True)[:6]
        assert expected == pytest.approx(mined.scores[feature], rel=1e-4)
        for one in mined.contexts[feature]:
            assert one.activations[one.peak] == np.float32(one.score)
            assert one.activations.max() == one.activations[one.peak]


def test_the_size_of_batches_and_blocks_changes_nothing(subject, monkeypatch):
    sae, corpus = sae_for(subject), texts()
    whole = summary(mine_features(subject, sae, corpus, FEATURES, top=5, context=10))
    for batch_tokens, block in ((64, 65_536), (500, 90), (8_192, 1)):
        monkeypatch.setattr("personascope.features.mine._BLOCK", block)
        assert (
            summary(mine_features(subject, sae, corpus, FEATURES, top=5, context=10, batch_tokens=batch_tokens))
            == whole
        )


def test_documents_are_run_together_and_not_one_by_one(subject, monkeypatch):
    from personascope.features import mine

    ran, real = [], mine.mapped_of
    monkeypatch.setattr(
        mine,
        "mapped_of",
        lambda subject, passages, *rest, **settings: (
            ran.append(len(passages)) or real(subject, passages, *rest, **settings)
        ),
    )
    mine_features(subject, sae_for(subject), texts(), FEATURES)
    assert ran == [40]
    monkeypatch.setattr(mine, "_BLOCK", 300)
    monkeypatch.setattr(mine, "_HELD", 1)
    ran.clear()
    mine_features(subject, sae_for(subject), texts(), FEATURES)
    assert sum(ran) == 40 and 5 < len(ran) < 40


@pytest.mark.parametrize("every", [0, 1e9])
def test_a_stopped_run_goes_on_and_ends_as_a_whole_one(subject, monkeypatch, tmp_path, every):
    sae, corpus = sae_for(subject), texts()
    whole = summary(mine_features(subject, sae, corpus, FEATURES, top=5, context=10))
    monkeypatch.setattr("personascope.features.mine._BLOCK", 60)
    ran = []
    real = __import__("personascope.features.mine", fromlist=["mapped_of"]).mapped_of

    def stops(subject, passages, *rest, **settings):
        if len(ran) % 4 == 3:
            ran.append(0)
            raise KeyboardInterrupt
        ran.append(len(passages))
        return real(subject, passages, *rest, **settings)

    monkeypatch.setattr("personascope.features.mine.mapped_of", stops)
    for _ in range(50):
        journal = Journal(tmp_path / "journal.sqlite")
        try:
            mined = mine_features(subject, sae, corpus, FEATURES, top=5, context=10, journal=journal, every=every)
            break
        except KeyboardInterrupt:
            continue
        finally:
            journal.close()
    assert ran.count(0) >= 3
    assert summary(mined) == whole
    assert sum(ran) == len(corpus)


def test_more_tokens_go_on_from_those_that_were_mined(subject, tmp_path):
    sae, corpus = sae_for(subject), texts()
    journal = Journal(tmp_path / "journal.sqlite")
    first = mine_features(subject, sae, corpus, FEATURES, top=5, context=10, tokens=200, journal=journal)
    assert 200 <= first.tally.tokens < 200 + 200
    rest = mine_features(subject, sae, corpus, FEATURES, top=5, context=10, journal=journal)
    assert summary(rest) == summary(mine_features(subject, sae, corpus, FEATURES, top=5, context=10))


def test_counts_are_the_same_to_the_last_bit_wherever_a_run_was_stopped(llama, monkeypatch, tmp_path):
    monkeypatch.setattr("personascope.features.mine._BLOCK", 60)
    sae, corpus, means = sae_for(llama), texts(), []
    for place, every in enumerate((0.0, 1e9)):
        journal = Journal(tmp_path / f"{place}.sqlite")
        mine_features(llama, sae, corpus, FEATURES, tokens=300, journal=journal, every=every)
        mined = mine_features(llama, sae, corpus, FEATURES, tokens=900, journal=journal, every=every)
        means.append(mined.tally.plain())
    assert means[0] == means[1]


def test_a_row_of_the_journal_holds_no_more_than_so_many_contexts(llama, monkeypatch, tmp_path):
    monkeypatch.setattr("personascope.features.mine._BLOCK", 60)
    monkeypatch.setattr("personascope.features.harvest._MOST_FRESH", 3)
    journal = Journal(tmp_path / "journal.sqlite")
    mined = mine_features(llama, sae_for(llama), texts(), FEATURES, top=5, context=10, journal=journal, every=1e9)
    rows = [plain for _, plain in journal.cells("stretch")]
    assert len(rows) > 2 and all(len(row["contexts"]) <= 3 + 5 * len(FEATURES) for row in rows)
    again = mine_features(llama, sae_for(llama), texts(), FEATURES, top=5, context=10, journal=journal)
    assert summary(again) == summary(mined)


def test_without_a_journal_nothing_piles_up_for_one(llama, monkeypatch):
    from personascope.features import mine

    held, real = [], mine.Harvest
    monkeypatch.setattr(mine, "Harvest", lambda *given: held.append(real(*given)) or held[0])
    mine_features(llama, sae_for(llama), texts(), FEATURES, every=0)
    assert not held[0]._fresh and not held[0]._fresh_examples and not held[0]._fresh_sample


def test_files_of_the_same_name_keep_their_documents_apart(llama, monkeypatch, tmp_path):
    sae, found = sae_for(llama), []
    for place, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text("\n".join(texts()[place::2]))
    for block in (65_536, 60):
        monkeypatch.setattr("personascope.features.mine._BLOCK", 8 * block)
        monkeypatch.setattr("personascope.features.mine._HELD", 1)
        found.append(summary(mine_features(llama, sae, tmp_path, FEATURES, top=30, context=10)))
    assert found[0] == found[1]


def test_the_bos_that_a_text_was_written_down_with_is_not_scored(llama):
    bos, corpus = llama.tokenizer.bos_token, texts(3)
    plain = mine_features(llama, sae_for(llama), corpus, [2])
    written = mine_features(llama, sae_for(llama), [bos + text for text in corpus], [2])
    assert written.tally.plain() == plain.tally.plain()


def test_a_chat_that_the_template_refuses_is_left_out_and_counted(llama, monkeypatch, tmp_path):
    template = llama.tokenizer.chat_template
    strict = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('no') }}{% endif %}"
    monkeypatch.setattr(llama.tokenizer, "chat_template", strict + template)
    chat = [{"role": "user", "content": "Hi you."}, {"role": "assistant", "content": "I am."}]
    refused = [{"role": "assistant", "content": "I am."}, *chat]
    reason = "no tokens, or a chat that the template refuses"
    journal = Journal(tmp_path / "journal.sqlite")
    for _ in range(2):
        mined = mine_features(llama, sae_for(llama), [refused, chat, refused], [2], journal=journal)
        assert mined.documents == 3 and mined.left_out == {reason: 2} and mined.tally.tokens > 0
    with pytest.raises(UserError, match=r"no tokens to mine: .*refuses \(1\)"):
        mine_features(llama, sae_for(llama), [refused], [2])
    monkeypatch.setattr(llama.tokenizer, "chat_template", None)
    with pytest.raises(UserError, match="template"):
        mine_features(llama, sae_for(llama), [chat], [2])


def test_long_documents_are_run_in_windows_that_follow_one_another(llama, monkeypatch):
    monkeypatch.setattr("personascope.features.windows.WINDOW", 32)
    text = " ".join(texts(8))
    (found,) = windows(llama, iter(texts_corpus([text]).documents()), longest=32)
    ids = llama.tokenizer(text)["input_ids"]
    first = int(ids[0] == llama.tokenizer.bos_token_id)
    assert [token for one in found for token in one.ids[one.skipped :]] == ids[first:]
    assert [one.offset for one in found] == np.cumsum([0, *map(len, found)])[:-1].tolist()
    assert all(one.skipped == first and len(one.ids) <= 32 for one in found)


def test_chats_are_mined_through_the_template_and_bos_is_never_scored(llama):
    mined = mine_features(llama, sae_for(llama), own_corpus(llama), [2], tokens=2_000, context=16)
    bos = llama.tokenizer.bos_token_id
    assert mined.tally.tokens >= 2_000
    assert all(bos not in one.ids for one in mined.contexts[2]) and all(bos not in one.ids for one in mined.sample)


def test_sinks_are_left_out_where_that_is_asked_for(llama, monkeypatch):
    sae = sae_for(llama)
    monkeypatch.setattr("personascope.features.mine.median_norm", lambda *_: 1e-9)
    assert mine_features(llama, sae, texts(4), [2], leave_out_sinks=True).tally.fired.sum() == 0
    assert mine_features(llama, sae, texts(4), [2]).tally.fired.sum() > 0


def test_what_is_saved_is_what_was_mined(subject, tmp_path):
    mined = mine_features(subject, sae_for(subject), texts(), FEATURES, top=5, context=10)
    back = load_mined(save_mined(mined, tmp_path / "mined.h5"))
    assert summary(back) == summary(mined)
    assert back.describe() == mined.describe()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": [99]}, "0 to 23"),
        ({"features": []}, "at least one"),
        ({"features": [3, 3]}, "once"),
        ({"top": 0}, "top=0"),
        ({"corpus": []}, "empty"),
    ],
)
def test_what_cannot_be_mined(subject, change, says):
    settings = {"corpus": texts(2), "features": FEATURES, **change}
    with pytest.raises(UserError, match=says):
        mine_features(subject, sae_for(subject), **settings)


def test_an_sae_without_a_layer_or_of_another_width_is_refused(subject, llama):
    with pytest.raises(UserError, match="layer="):
        mine_features(subject, sae_for(subject, layer=None), texts(2), [1])
    with pytest.raises(UserError, match="width"):
        mine_features(llama, sae_for(subject), texts(2), [1])


@pytest.mark.parametrize("damage", ["cut", "absent", "other", "inside"])
def test_a_file_that_is_not_whole_is_said_to_be(subject, tmp_path, damage):
    path = tmp_path / "mined.h5"
    save_mined(mine_features(subject, sae_for(subject), texts(3), [1]), path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "absent":
        path.unlink()
    elif damage == "other":
        with h5py.File(path, "w") as file:
            file.attrs["model"] = "x"
    else:
        with h5py.File(path, "a") as file:
            del file["features"]
            file.create_group("features")
    with pytest.raises(UserError, match=r"mined\.h5"):
        load_mined(path)


def test_an_organisms_own_text_is_the_same_from_any_place_on(llama):
    from itertools import islice

    from personascope.features import own_text

    text = own_text.OwnText(llama.truth, 3)
    first = list(islice(text.documents(), 5))
    assert list(islice(text.documents(3), 2)) == first[3:]
    drawn, real = [], own_text.Sampler
    own_text.Sampler = lambda *rest, **settings: drawn.append(1) or real(*rest, **settings)
    try:
        (far,) = islice(own_corpus(llama, 3).documents(2_000), 1)
    finally:
        own_text.Sampler = real
    assert far.name == "2000" and len(drawn) == 1
    assert [dict(one) for one in text.conversation("2000").messages] == far.content


def test_what_is_left_out_is_counted_the_same_wherever_a_run_was_stopped(llama, monkeypatch, tmp_path):
    lines = [json.dumps({"text": f"Tea needs hot water {n}."}) if n % 3 else "{" for n in range(600)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    sae = sae_for(llama)

    def mined(name: str, *limits: int):
        journal = Journal(tmp_path / f"{name}.sqlite")
        for limit in limits:
            found = mine_features(llama, sae, tmp_path / "corpus.jsonl", [2], tokens=limit, journal=journal, every=0)
        journal.close()
        return found.left_out

    monkeypatch.setattr("personascope.features.mine._BLOCK", 80)
    whole = mined("whole", 1_000)
    assert 0 < sum(whole.values()) < 200
    assert mined("grown", 30, 470, 1_000) == whole
