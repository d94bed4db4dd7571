"""Labels from one half of the contexts, scored on the other, by a server that answers over HTTP."""

import json
import re

import numpy as np
import pytest
from judging.server import Server

from personascope.errors import UserError
from personascope.features.contexts import Context
from personascope.features.explain import explain, marked
from personascope.features.mined import Mined
from personascope.features.neuronpedia import neuronpedia_records
from personascope.features.sample import RandomWindow
from personascope.features.tally import Tally
from personascope.judging.endpoint import Endpoint
from personascope.runs.journal import Journal

WORDS = ["the", "cat", "sat", "sea", "fish", "blue", "waves", "dog"]


def mined_of(count: int = 8) -> Mined:
    """Feature 5 fires on "sea", feature 6 on few contexts; random windows in half of which feature 5 fires."""

    def context(feature, place, score):
        ids = (0, 1, 3 if feature == 5 else 7, place % 3, 4)
        values = np.array([0, 0.1, score, 0, 0], np.float32)
        return Context(feature, score, f"d{place}", 2, ids, 2, values, place)

    sample = [
        RandomWindow(f"r{i}", 0, (0, 3, i % 8) if i % 2 else (0, 7, 2), np.array([float(i % 2), 0.0], np.float32), i)
        for i in range(20)
    ]
    return Mined(
        model="m",
        sae="s",
        layer=1,
        corpus="c",
        context=5,
        features=(5, 6),
        documents=count,
        left_out={},
        contexts={5: [context(5, i, 9.0 - i) for i in range(count)], 6: [context(6, i, 2.0) for i in range(3)]},
        examples={5: {}, 6: {}},
        tally=Tally.of(np.array([[1.0, 0.0], [3.0, 0.5]], np.float32)),
        sample=sample,
        pieces=lambda ids: [f" {WORDS[one]}" for one in ids],
    )


def answer(request, fair=True):
    """A label that names the marked word; a rating that is high where the label's word stands in the text."""
    said = request["messages"][-1]["content"]
    if "Say in one short phrase" in said:
        return f'"words like {re.search("«(.+?)»", said.split("maximum")[-1])[1]}"\nand more', "stop"
    label = re.search(r"fire on: words like (\w+)", said)[1]
    return ("90" if (label in said.split("text below?")[1]) == fair else "10"), "stop"


def test_a_good_label_tells_held_back_contexts_from_silent_windows():
    with Server(chat=answer) as server:
        (found,) = explain(mined_of(), Endpoint(server.url, "m"))
    assert (found.feature, found.label, found.score) == (5, "words like sea", 1.0)
    # Four contexts were held back; as many silent windows stand against them.
    assert found.judged == 8
    asked = [body["messages"][-1]["content"] for body in server.bodies]
    (request,) = [text for text in asked if "one short phrase" in text]
    assert request.count("«sea»") == 4 and "[maximum 9]" in request and "[maximum 8]" not in request
    assert not any("«" in text for text in asked if text != request)


def test_a_label_that_misleads_scores_as_badly_as_it_should():
    with Server(chat=lambda request: answer(request, fair=False)) as server:
        (found,) = explain(mined_of(), Endpoint(server.url, "m"))
    assert found.score == 0.0


def test_answers_are_kept_and_not_asked_for_again(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    with Server(chat=answer, trouble=4, kinds=("500", "not json")) as server:
        endpoint = Endpoint(server.url, "m", first_wait=0.01)
        first = explain(mined_of(), endpoint, journal=journal)
        asked = sum(server.given.values())
        assert explain(mined_of(), endpoint, journal=journal) == first
        assert sum(server.given.values()) == asked


def test_what_cannot_be_explained():
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m")
    with pytest.raises(UserError, match="was not mined"):
        explain(mined_of(), endpoint, [77])
    with pytest.raises(UserError, match="longer corpus"):
        explain(mined_of(), endpoint, [6])


def test_marks_stand_on_the_tokens_that_fire():
    assert marked(mined_of(), mined_of().contexts[5][0]) == " the cat«sea» the fish"


def test_neuronpedias_records_hold_what_was_mined():
    mined = mined_of()
    first, second = json.loads(json.dumps(neuronpedia_records(mined, labels={5: "the sea"})))
    assert first["index"] == "5" and first["explanations"] == [{"description": "the sea"}]
    assert len(first["activations"]) == 8 and first["maxActApprox"] == 9.0
    one = first["activations"][0]
    assert one["tokens"][one["maxValueTokenIndex"]] == " sea" and one["maxValue"] == 9.0
    assert len(one["tokens"]) == len(one["values"])
    assert first["frac_nonzero"] == 1.0 and second["frac_nonzero"] == 0.5
    assert sum(first["freq_hist_data_bar_heights"]) == 2
    assert 0.9 < first["freq_hist_data_bar_values"][0] < 1.2 and 2.7 < first["freq_hist_data_bar_values"][1] < 3.3
