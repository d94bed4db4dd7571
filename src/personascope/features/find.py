"""Which features fire on some prompts, and on them more than on others."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor

from personascope.engine.choose import Sampling
from personascope.engine.forward import Passage, mapped_of
from personascope.engine.generate import listed_prompts, requests_for, run_requests
from personascope.engine.selection import select
from personascope.errors import UserError
from personascope.features.found import Contrast, Found, Trace
from personascope.features.sae import SAE, sae_layer
from personascope.features.sparsity import Sparsity, sparsity_of
from personascope.statistics import auroc, holm, rank_sum_test
from personascope.subject import PromptLike, Subject

# A feature that fires on fewer prompts than this has too little to be told by.
_FEWEST = 3
# Tokens whose codes are held at once while a prompt's are averaged.
_CHUNK = 256
# Texts on which the number of active features is measured.
_SAMPLED = 32


def find_features(
    subject: Subject,
    sae: SAE,
    prompts: PromptLike | Sequence[PromptLike],
    control: Sequence[PromptLike] | None = None,
    top: int = 20,
    tokens: str = "prompt[-1]",
    chat: bool = True,
    max_new_tokens: int = 60,
    seed: int = 0,
    batch_tokens: int | None = None,
) -> Found:
    """The features of an SAE that fire on prompts, and with control prompts those that tell the two apart.

    tokens: where features are read; the codes of several tokens are averaged, BOS left out. `response` makes the subject
    answer first, at temperature 1, up to max_new_tokens. chat: strings go through the chat template as one user turn.
    Without control the features of the largest mean are taken. With it, those of the largest AUROC, and among equals of
    the largest difference, chosen on one half of the prompts and of the controls and measured on the other: mean, share
    of prompts, difference, AUROC, rank-sum p (exact up to 120 texts) and p by Holm over the chosen ones. Features that
    fire on fewer than three prompts of their half, or there on controls as much, are passed over. The pass stops at the
    SAE's layer.
    Raises `UserError` where the SAE does not fit the subject, and where prompts are too few to be halved.
    """
    Subject.check(subject)
    listed = listed_prompts(prompts)
    others = listed_prompts(control) if control is not None else []
    layer = sae_layer(sae, subject)
    if not isinstance(top, Integral) or isinstance(top, bool) or not 1 <= top <= sae.n_features:
        raise UserError(f"top={top!r} is not from 1 to the SAE's {sae.n_features} features")
    distinct = len(set(map(str, listed))), len(set(map(str, others)))
    if control is not None and min(distinct) < 4:
        raise UserError(
            f"{distinct[0]} prompts against {distinct[1]} controls cannot be halved into choosing and reporting; give at "
            "least 4 different ones of each, and better 50 controls"
        )
    passages = _passages(subject, [*listed, *others], tokens, chat, max_new_tokens, seed)
    states = mapped_of(subject, passages, layer, tokens, lambda rows: rows.float(), batch_tokens=batch_tokens)
    for passage, rows in zip(passages, states, strict=True):
        if not len(rows):
            raise UserError(
                f"tokens={tokens!r} selects nothing in {passage.prompt.text[:60]!r}; choose another selection"
            )
    states = [_without_bos(subject, passage, rows, tokens) for passage, rows in zip(passages, states, strict=True)]
    codes = [csr_array(_mean_code(sae, rows)[None].numpy()) for rows in states]
    ours = vstack(codes[: len(listed)], format="csr")
    theirs = vstack(codes[len(listed) :], format="csr") if others else csr_array((0, sae.n_features), dtype=np.float32)
    means = np.asarray(ours.mean(axis=0))
    texts = [passage.prompt.text for passage in passages]
    contrast = None
    if control is not None:
        halves = *_halves(texts[: len(listed)], seed), *_halves(texts[len(listed) :], seed + 1)
        contrast = _contrast(ours, theirs, top, halves)
    indices = contrast.indices if contrast is not None else _largest(means, top)
    return Found(
        model=subject.name,
        sae=sae.name,
        layer=layer,
        n_features=sae.n_features,
        tokens=tokens,
        prompts=tuple(texts[: len(listed)]),
        controls=tuple(texts[len(listed) :]),
        responses=tuple(subject.decode(passage.response) for passage in passages),
        activations=torch.stack([rows.mean(dim=0) for rows in states]).numpy(),
        codes=ours,
        control_codes=theirs,
        indices=indices,
        values=means[indices],
        contrast=contrast,
        traces=_traces(subject, sae, layer, passages, indices),
        sparsity=_sparsity(subject, sae, layer, passages),
        digest=sae.digest,
    )


def _passages(
    subject: Subject, prompts: Sequence[PromptLike], tokens: str, chat: bool, max_new_tokens: int, seed: int
) -> list[Passage]:
    """The prompts, answered where the selection asks for a response."""
    asked = [subject.chat.prompt(prompt, chat=chat) for prompt in prompts]
    needs_response = any(part.base in ("response", "sampling") for part in select(tokens).parts)
    if not needs_response:
        return [Passage(prompt) for prompt in asked]
    requests = requests_for(
        subject, prompts, None, (), Sampling(temperature=1.0), max_new_tokens, None, seed, False, chat, 0
    )
    answered = run_requests(subject, requests)
    failed = next((one for one in answered if one.error), None)
    if failed is not None:
        raise UserError(f"a response could not be sampled: {failed.error}")
    return [Passage(prompt, tuple(one.response_ids)) for prompt, one in zip(asked, answered, strict=True)]


def _without_bos(subject: Subject, passage: Passage, rows: Tensor, tokens: str) -> Tensor:
    """The selected tokens but for BOS, whose state is like no other's; it stays where it stands alone."""
    positions = select(tokens).positions(passage.layout)
    bos = subject.tokenizer.bos_token_id
    kept = [place for place, position in enumerate(positions) if passage.ids[position] != bos or position > 0]
    return rows[kept] if kept and len(kept) < len(rows) else rows


def _mean_code(sae: SAE, rows: Tensor) -> Tensor:
    """[features]: the mean code of some tokens."""
    total = torch.zeros(sae.n_features, dtype=torch.float64)
    for start in range(0, len(rows), _CHUNK):
        total += sae.encode(rows[start : start + _CHUNK]).double().sum(dim=0).cpu()
    return (total / len(rows)).float()


def _traces(
    subject: Subject, sae: SAE, layer: int, passages: Sequence[Passage], features: np.ndarray
) -> tuple[Trace, ...]:
    """The chosen features on every token of every text; nothing on BOS."""
    listed = [int(feature) for feature in features]
    encoder = sae.chosen(listed, subject.layer_device(layer))
    function = encoder if encoder.is_exact else lambda rows: sae.encode(rows, listed)
    codes = mapped_of(subject, passages, layer, "all", function)
    bos = subject.tokenizer.bos_token_id
    for passage, rows in zip(passages, codes, strict=True):
        if passage.ids[0] == bos:
            rows[0] = 0.0
    return tuple(
        Trace(tuple(subject.pieces(passage.ids)), rows.numpy()) for passage, rows in zip(passages, codes, strict=True)
    )


def _sparsity(subject: Subject, sae: SAE, layer: int, passages: Sequence[Passage]) -> Sparsity:
    """How many features fire on all tokens but BOS of some of the texts."""
    states = mapped_of(subject, passages[:_SAMPLED], layer, "all", lambda rows: rows.float())
    kept = [_without_bos(subject, passage, rows, "all") for passage, rows in zip(passages, states, strict=False)]
    return sparsity_of(sae, torch.cat(kept)[:4096])


def _largest(values: np.ndarray, top: int) -> np.ndarray:
    """The places of the largest values, the lower place first among equals."""
    return np.argsort(-values, kind="stable")[:top]


def _halves(texts: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the texts in two halves; equal ones stay together, or what chose would report."""
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    order = np.random.default_rng(seed).permutation(len(distinct))
    chooses = np.isin([distinct[text] for text in texts], order[: len(distinct) // 2])
    return np.flatnonzero(chooses), np.flatnonzero(~chooses)


def _contrast(
    ours: csr_array, theirs: csr_array, top: int, halves: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> Contrast:
    """Features chosen on one half, measured on the other. halves: of the prompts, and of the controls."""
    choosing, reporting, choosing_controls, reporting_controls = halves
    mine, other = ours[choosing], theirs[choosing_controls]
    candidates = np.flatnonzero((mine > 0).sum(axis=0) >= min(_FEWEST, len(choosing)))
    values, controls = mine[:, candidates].toarray(), other[:, candidates].toarray()
    difference = values.mean(axis=0) - controls.mean(axis=0)
    areas = _areas(values, controls)
    order = np.lexsort((candidates, -difference, -areas))
    # What fires on controls as much is none of what is looked for, however few others there are.
    chosen = candidates[[place for place in order if areas[place] > 0.5][:top]]
    values, controls = ours[reporting][:, chosen].toarray(), theirs[reporting_controls][:, chosen].toarray()
    p_values = np.array([rank_sum_test(values[:, place], controls[:, place]) for place in range(len(chosen))])
    return Contrast(
        indices=chosen,
        mean=values.mean(axis=0),
        control_mean=controls.mean(axis=0),
        share=(values > 0).mean(axis=0),
        control_share=(controls > 0).mean(axis=0),
        auroc=_areas(values, controls),
        p=p_values,
        corrected=holm(p_values),
        choosing=choosing,
        choosing_controls=choosing_controls,
        candidates=len(candidates),
    )


def _areas(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """[columns]: AUROC of each column, prompts against controls."""
    labels = np.r_[np.ones(len(values), bool), np.zeros(len(controls), bool)]
    together = np.concatenate([values, controls])
    return np.array([auroc(labels, together[:, place]) for place in range(together.shape[1])])
