"""Extraction beside the usual way: sample with `generate`, then run every text again for its hidden states.

One trait on an organism: 5 instruction pairs × 20 questions × 2 samples × 2 poles = 400 rollouts, mean response
activations at every layer. Run with `python benchmarks/extraction.py`; both sides run in one process, in turn.
"""

import argparse
from itertools import count
from pathlib import Path
from typing import Any

import torch
from measuring import ratios, record, show, timed

import personascope as ps
from personascope.engine.forward import Passage, means_of
from personascope.extraction.rollouts import Cell, sample_rollouts
from personascope.personas import load_persona
from personascope.subject import Subject

BATCH, NEW, SAMPLES, QUESTIONS = 32, 120, 2, 20


def wanted(name: str) -> list[Cell]:
    persona = load_persona(name)
    return [
        Cell(persona, "extract", pole, pair, question, sample)  # type: ignore[arg-type]
        for pair in range(5)
        for question in persona.questions[:QUESTIONS]
        for sample in range(SAMPLES)
        for pole in ("pos", "neg")
    ]


def difference(means: torch.Tensor, cells: list[Cell]) -> torch.Tensor:
    """[layers, hidden]: mean(pos) − mean(neg) of [rollouts, layers, hidden]."""
    positive = torch.tensor([cell.pole == "pos" for cell in cells])
    return means[positive].mean(dim=0) - means[~positive].mean(dim=0)


def ours(subject: Subject, cells: list[Cell], seed: int) -> tuple[torch.Tensor, list[Passage]]:
    rollouts = sample_rollouts(subject, cells, range(subject.n_layers), ("response",), NEW, 1.0, seed)
    return torch.stack([one.means[:, 0] for one in rollouts]), [one.passage for one in rollouts]


@torch.inference_mode()
def usual(subject: Subject, cells: list[Cell], seed: int) -> torch.Tensor:
    """`generate` in left-padded batches, ends and sampling as ours; then each text alone, all hidden states kept."""
    torch.manual_seed(seed)
    model, tokenizer = subject.model, subject.tokenizer
    texts = []
    for cell in cells:
        chat = [
            {"role": "system", "content": cell.persona.system_prompt(cell.pair, cell.pole)},
            {"role": "user", "content": cell.question},
        ]
        texts.append(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
    ends = sorted(subject.end_ids)
    pairs: list[tuple[list[int], list[int]]] = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(
            texts[start : start + BATCH],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_token_type_ids=False,
        ).to(subject.input_device)
        out = model.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=NEW,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
        )
        width = batch["input_ids"].shape[1]
        for ids, mask, row in zip(batch["input_ids"], batch["attention_mask"], out, strict=True):
            response = row[width:].tolist()
            stop = next((place for place, token in enumerate(response) if token in ends), len(response) - 1)
            pairs.append((ids[mask.bool()].tolist(), response[: stop + 1]))
    means = []
    for prompt, response in pairs:
        ids = torch.tensor([prompt + response], device=subject.input_device)
        hidden = model(ids, output_hidden_states=True, use_cache=False).hidden_states
        # hidden_states[0] is the embedding; the last has been through the final norm, as in the field's own scripts.
        means.append(torch.stack([layer[0, len(prompt) :].float().mean(dim=0) for layer in hidden[1:]]).cpu())
    return torch.stack(means)


def extraction(subject: Subject, trait: str, rounds: int) -> dict[str, Any]:
    """Both sides in turn, and how alike their vectors are."""
    cells = wanted(trait)
    found: dict[str, Any] = {}
    turns = count()
    sides = {
        "personascope": lambda: found.update(mine=ours(subject, cells, next(turns))),
        "generate, then one text at a time": lambda: found.update(theirs=usual(subject, cells, next(turns))),
    }
    table = ratios(timed(sides, rounds), "personascope")
    mine, passages = found["mine"]
    last = subject.n_layers - 1
    again = means_of(subject, passages, range(subject.n_layers), ["response"])[:, 0]
    vectors = [difference(means, cells) for means in (mine, found["theirs"], again)]
    cosine = torch.nn.functional.cosine_similarity
    alike = {
        "other samples": round(float(cosine(vectors[0], vectors[1])[:last].min()), 4),
        "same samples read again": round(float(cosine(vectors[0], vectors[2]).min()), 6),
    }
    show(f"extraction of {trait}, {len(cells)} rollouts (to reach: 4)", table)
    show("least cosine of vectors, over layers (to reach: 0.99)", {"": alike})
    return {**table, "least cosine of vectors": alike, "rollouts": len(cells)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="organism:llama")
    options.add_argument("--trait", default="evil")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--device", default="cpu")
    options.add_argument("--out", type=Path, default=None, help="JSON file for the figures")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    subject = ps.load(chosen.model, device=chosen.device)
    parts = {chosen.model: lambda: extraction(subject, chosen.trait, chosen.rounds)}
    record(parts, None, chosen.out, chosen.device, trait=chosen.trait, rounds=chosen.rounds)


if __name__ == "__main__":
    main()
