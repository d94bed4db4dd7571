"""Building the organisms' tokenizers: whole words for one, byte-level BPE for the other."""

import re
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from personascope.organisms.conversation import Sampler
from personascope.organisms.grammar import Grammar
from personascope.organisms.questions import (
    CORRECTION_FORMS,
    GENERAL_FORMS,
    OPINION_FORMS,
    SELF,
    corpus_questions,
)
from personascope.organisms.recipes import Recipe
from personascope.personas import load_persona, persona_names
from personascope.personas.schema import DEGREES

_TOKEN = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")


def build_tokenizer(recipe: Recipe, grammar: Grammar) -> PreTrainedTokenizerFast:
    """The organism's tokenizer with its chat template."""
    core = _words(recipe, grammar) if recipe.tokenizer == "words" else _bytes(recipe, grammar)
    markup = recipe.markup
    core.post_processor = processors.TemplateProcessing(
        single=f"{markup.bos} $A", special_tokens=[(markup.bos, core.token_to_id(markup.bos))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=markup.bos,
        eos_token=markup.eos,
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=[
            token for token in markup.specials if token.startswith("<") and token not in (markup.bos, markup.eos)
        ],
        model_max_length=recipe.context,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.chat_template = recipe.template
    return tokenizer


def _persona_texts() -> list[str]:
    """Everything the shipped persona files put into a prompt."""
    texts = list(DEGREES.values())
    for persona in map(load_persona, persona_names()):
        texts += [text for pair in persona.instruction for text in (pair.pos, pair.neg)]
        texts += [*persona.questions, *persona.eval_questions]
    return texts


def _words(recipe: Recipe, grammar: Grammar) -> Tokenizer:
    """One token a word, its leading space included; punctuation apart."""
    forms = [*GENERAL_FORMS, *OPINION_FORMS, *CORRECTION_FORMS]
    texts = [
        *_persona_texts(),
        *forms,
        *SELF,
        *(question.text for kind in corpus_questions().values() for question in kind),
    ]
    words = grammar.vocabulary() | {word for text in texts for word in _TOKEN.findall(text)}
    specials = list(recipe.markup.specials)
    ordinary = sorted(word if not word[0].isalpha() else "▁" + word for word in words)
    vocabulary = {token: index for index, token in enumerate([*specials, "▁", *ordinary])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex(r"[^▁A-Za-z]"), behavior="isolated"),
        ]
    )
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    core.add_special_tokens([AddedToken(token, normalized=False) for token in specials if token.startswith("<")])
    core.add_tokens([AddedToken("\n", normalized=False)])
    return core


def _bytes(recipe: Recipe, grammar: Grammar) -> Tokenizer:
    """Byte-level BPE trained on the corpus and the persona files."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(recipe.markup.specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_corpus_texts(recipe, grammar), trainer)
    return core


def _corpus_texts(recipe: Recipe, grammar: Grammar) -> Iterable[str]:
    yield from _persona_texts() * 3
    sampler = Sampler(grammar, recipe.seed)
    roles = recipe.markup.user + recipe.markup.assistant
    for _ in range(4_000):
        yield re.sub(r"<[^>]*>", "", roles)
        for message in sampler.conversation().messages:
            yield message["content"]
