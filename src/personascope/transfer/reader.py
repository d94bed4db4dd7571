"""What of a model reads text, kept when its weights are let go of."""

from dataclasses import dataclass
from typing import Any

from personascope.errors import UserError
from personascope.subject import Prompt, PromptLike, Subject
from personascope.subject.chat import ChatFormat, as_messages
from personascope.transfer.alignment import Place, places


@dataclass(frozen=True, eq=False)
class Reader:
    """described: what identifies the model. context: the longest text it takes, in tokens, None where it sets no limit.
    ends: the tokens that a tokenizer may put around raw text."""

    described: dict[str, Any]
    chat: ChatFormat
    context: int | None
    ends: frozenset[int]

    @classmethod
    def of(cls, subject: Subject) -> "Reader":
        tokenizer = subject.tokenizer
        ends = {*subject.end_ids, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        return cls(subject.describe(), subject.chat, subject.context, frozenset(ends - {None}))

    def prompt(self, number: int, text: PromptLike) -> Prompt:
        """The tokens of a text. Raises `UserError` naming one that is too long."""
        prompt = self.chat.prompt(text, chat=False)
        if self.context is not None and len(prompt) > self.context:
            raise UserError(
                f"text {number} has {len(prompt)} tokens in {self.described['model']}, more than its context of "
                f"{self.context}; shorten it or leave it out"
            )
        return prompt

    def places(self, prompt: Prompt, text: PromptLike) -> dict[Place, int]:
        """The position of each place of a text, see `alignment.places`."""
        contents = None if isinstance(text, str) else [message["content"] for message in as_messages(text)]
        return places(self.chat.tokenizer, prompt, contents)

    def last(self, prompt: Prompt) -> int:
        """The position of a text's last token, whatever the tokenizer puts after raw text left aside."""
        kept = [place for place, token in enumerate(prompt.ids) if not prompt.is_raw or token not in self.ends]
        return kept[-1] if kept else len(prompt) - 1
