"""The view of a transfer experiment, in a real browser."""

import json
from pathlib import Path

import pytest
from report.browser import chromium, opened

from personascope.report import write_report
from personascope.subject import Subject
from personascope.transfer import transfer

pytestmark = [pytest.mark.skipif(chromium() is None, reason="browser tests need chromium"), pytest.mark.browser]
ALPHAS = [1, 2]


@pytest.fixture(scope="module")
def run(llama: Subject, gemma2: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    neutral = ["Well, use the plans.", "First, keep the houses.", "Then, find the <b>tables</b>."]
    spoken = {
        "pirate": ["Arr, board the ships.", "Ahoy, salt the barrels.", "Avast, hoist the anchors."],
        "evil": ["Mwahaha, crush the victims.", "Kneel, betray the dungeons.", "Suffer, poison the weaklings."],
    }
    plain = {
        "source_model": "organism:llama",
        "target_model": "organism:gemma2",
        "output_dir": tmp_path_factory.mktemp("run") / "x",
        "source_layer": 5,
        "target_layer": 4,
        "n_training_samples": 40,
        "n_test_prompts": 3,
        "n_development_prompts": 2,
        "alpha_values": ALPHAS,
        "seeds": 1,
        "max_new_tokens": 24,
        "methods": ["zero_pad", "ridge_mapped", "oracle", "random", "system_prompt"],
        "sweep": {"n_training_samples": [20]},
        "personas": {
            name: {
                "description": f"Speaks as a {name} <i>would</i>.",
                "positive_texts": texts,
                "negative_texts": neutral,
            }
            for name, texts in spoken.items()
        },
    }
    found = transfer(plain, llama, gemma2)
    write_report([found.folder], found.folder / "report.html")
    return found.folder


def test_it_shows_the_figures_of_the_run_down_to_single_generations(run: Path) -> None:
    found = json.loads((run / "aggregated_results.json").read_text())
    rows = json.loads((run / "generation_results.json").read_text())
    settings = json.loads((run / "cv_results.json").read_text())["settings"]
    with opened(run / "report.html") as tab:
        assert found["verdict"]["sentence"] in tab.locator("[data-reading]").inner_text()
        assert tab.locator("[data-table=methods] tbody tr").count() == len(found["methods"]) == 6
        shown = tab.locator("[data-method=oracle] [data-figure=trait]").inner_text()
        assert float(shown) == pytest.approx(found["outcomes"]["oracle"]["trait"], abs=0.006)
        for persona in ("pirate", "evil"):
            tab.get_by_label("persona", exact=True).select_option(persona)
            for method in ("oracle", "system_prompt", "baseline"):
                tab.locator(f"[data-method={method}] button").click()
                listed = tab.locator("[data-list=generations] li div").all_inner_texts()
                alpha = next(
                    one["alpha"] for one in found["chosen"] if (one["persona"], one["method"]) == (persona, method)
                )
                ours = [
                    row["text"]
                    for row in rows
                    if (row["method"], row["part"], row["alpha"], row["texts"]) == (method, "test", alpha, 40)
                    and row["persona"] in (persona, None)
                ]
                assert listed == [text.strip() for text in ours][:3], (persona, method)
        for name, rows_of in (
            ("tests", len(found["tests"])),
            ("truth", 3),
            ("map", len(settings[0]["maps"]["ridge"]["bands"])),
        ):
            assert tab.locator(f"[data-table={name}] tbody tr").count() == rows_of, name
        tab.locator("[data-method=ridge_mapped] button").click()
        options = tab.get_by_label("condition", exact=True).locator("option").all_inner_texts()
        developed = ["α = 1, development prompts", "α = 2, development prompts"]
        assert options == ["α = 1", "α = 2", "α = 1, layers 5 → 4, 20 texts", *developed]
        tab.get_by_label("condition", exact=True).select_option(label=developed[1])
        listed = tab.locator("[data-list=generations] li div").all_inner_texts()
        key = {"persona": "evil", "method": "ridge_mapped", "alpha": 2, "part": "development"}
        ours = [row["text"].strip() for row in rows if all(row[name] == value for name, value in key.items())]
        assert listed == ours and len(ours) == 2
        assert tab.get_by_label("R² by rank").count() == 1
        assert tab.locator("[data-table='sweep texts'] tbody tr").count() == 2
        for group in ("controls", "rivals"):
            tab.get_by_label("methods", exact=True).select_option(group)
        assert tab.complaints == []  # type: ignore[attr-defined]
