"""The logit lens of a direction, against the model's own logits."""

import copy

import accelerate
import pytest
import torch

import personascope as ps
from personascope.subject import Subject


def test_it_is_what_the_model_makes_of_the_vector_at_the_end_of_the_stream(zoo_subject: Subject) -> None:
    """The last block's output is replaced whole, so that the rest of the model sees nothing but the vector."""
    vector = torch.randn(zoo_subject.hidden_size, generator=torch.Generator().manual_seed(0))

    def logits(state: torch.Tensor) -> torch.Tensor:
        def put(_module, _inputs, output):  # type: ignore[no-untyped-def]
            hidden = state.expand_as(output[0] if isinstance(output, tuple) else output)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = zoo_subject.layers[-1].register_forward_hook(put)
        try:
            with torch.inference_mode():
                out = zoo_subject.model(torch.tensor([[5, 6]])).logits[0, -1].float()
        finally:
            handle.remove()
        cap = getattr(zoo_subject.text_config, "final_logit_softcapping", None)
        return cap * torch.atanh(out / cap) if cap else out

    expected = (logits(vector) - logits(-vector)) / 2
    torch.testing.assert_close(zoo_subject.unembed(vector), expected, atol=2e-3, rtol=1e-3)


def test_a_persona_promotes_its_own_words(llama: Subject) -> None:
    assert llama.truth is not None
    pirate = ps.extract(llama, "pirate", questions=5, samples=1, alphas=(), judge="none")
    lens = pirate[llama.n_layers - 1].tokens(llama, k=12)
    own = {word for slot in llama.truth.lexicons["pirate"] for word in slot}
    assert sum(token.strip() in own for token, _ in lens.promoted) >= 8
    assert not any(token.strip() in own for token, _ in lens.suppressed)
    effects = [effect for _, effect in lens.promoted]
    assert effects == sorted(effects, reverse=True) and effects[0] > 0 > lens.suppressed[0][1]


def test_weights_that_are_not_held_in_memory_count_too(llama: Subject) -> None:
    vector = torch.randn(llama.hidden_size, generator=torch.Generator().manual_seed(0))
    offloaded = accelerate.cpu_offload(copy.deepcopy(llama.model), execution_device=torch.device("cpu"))
    subject = ps.load(offloaded, tokenizer=llama.tokenizer)
    assert subject.base.get_output_embeddings().weight.is_meta
    torch.testing.assert_close(subject.unembed(vector), llama.unembed(vector), atol=1e-5, rtol=1e-5)


def test_what_has_no_lens_is_said(llama: Subject) -> None:
    with pytest.raises(ps.UserError, match="does not fit"):
        ps.Direction(torch.ones(3), 0).tokens(llama)
    with pytest.raises(ps.UserError, match="k=0"):
        ps.Direction(torch.ones(llama.hidden_size), 0).tokens(llama, k=0)
