"""A chat model behind an OpenAI-compatible URL: many questions at once, every answer handed over as it arrives."""

import asyncio
import os
import queue
import random
import re
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import openai

from personascope.errors import PersonascopeError, UserError
from personascope.judging.reply import Reply, clean, reply_of

Messages = list[dict[str, str]]

# Worth another try: the server is gone, too slow, or sent half an answer; or it is busy, or broken for now.
_PASSING = (openai.APIConnectionError, openai.APIResponseValidationError, TimeoutError, ValueError)
_PASSING_STATUS = (408, 409, 425, 429)
_LONGEST_WAIT = 30.0
# What may be wrong with one question and not with all: what it says, or how long it is.
_PERHAPS_ITS_OWN = (400, 413, 422)
# Servers' words for it, with which some refuse by 403 too.
_ABOUT_CONTENT = re.compile(
    r"content[\s_-]*(filter|polic|management|moderation)|responsible[\s_-]*ai|(safety|moderation|usage)[\s_-]*(polic|"
    r"filter|system)|flagged",
    re.IGNORECASE,
)
# A question that nobody refuses for what it says.
_HARMLESS: Messages = [{"role": "user", "content": "What is two and two? Say one number."}]


class EndpointFailed(PersonascopeError):
    """Some answers could not be had, however often they were asked for."""


@dataclass(frozen=True)
class Endpoint:
    """Where a chat model is asked, and how patiently.

    concurrency: questions under way at once. timeout: seconds for one whole answer, however it trickles in.
    attempts: how often a question is asked before it is given up.
    """

    base_url: str
    model: str
    api_key: str = field(default="none", repr=False)
    concurrency: int = 16
    timeout: float = 60.0
    attempts: int = 6
    first_wait: float = 0.5

    @classmethod
    def from_environment(cls, model: str | None = None, prefix: str = "PERSONASCOPE_JUDGE") -> "Endpoint":
        """The endpoint of `<prefix>_BASE_URL`, `_MODEL`, `_API_KEY`. Raises `UserError` where one is missing."""
        base_url, named = os.environ.get(f"{prefix}_BASE_URL"), model or os.environ.get(f"{prefix}_MODEL")
        missing = [name for name, value in (("BASE_URL", base_url), ("MODEL", named)) if not value]
        if missing:
            raise UserError(
                f"a chat model needs {' and '.join(f'{prefix}_{name}' for name in missing)} in the environment, "
                "such as http://localhost:8000/v1 and the name of the model served there"
            )
        return cls(str(base_url), str(named), os.environ.get(f"{prefix}_API_KEY") or "none")

    def ask(
        self,
        questions: Sequence[Messages],
        on_reply: Callable[[int, Reply], bool],
        max_tokens: int = 8,
        temperature: float = 0.0,
        top_p: float | None = None,
        logprobs: int = 0,
        seeds: Sequence[int] | None = None,
    ) -> None:
        """Ask all questions. on_reply is called in this thread with each answer as it arrives; where it returns False
        the answer is of no use and the question is asked again, with room for a longer answer.

        A question that the server refuses for what it says, while it takes others, is handed over as a refused `Reply`
        with the server's complaint, and is not asked again. Raises `UserError` where the server refuses all questions or
        cannot be reached, and `EndpointFailed` at the end where some answers could not be had; all others have been
        handed over by then.
        """
        if questions:
            _Asking(self, questions, on_reply, max_tokens, temperature, top_p, logprobs, seeds).run()


class _Asking:
    """One round of questions: a loop in a thread of its own talks to the server, this one takes the answers."""

    def __init__(
        self,
        endpoint: Endpoint,
        questions: Sequence[Messages],
        on_reply: Callable[[int, Reply], bool],
        max_tokens: int,
        temperature: float,
        top_p: float | None,
        logprobs: int,
        seeds: Sequence[int] | None,
    ) -> None:
        self.endpoint = endpoint
        self.questions = questions
        self.on_reply = on_reply
        self.seeds = seeds
        self.max_tokens = max_tokens
        self.options: dict[str, Any] = {"temperature": temperature}
        if top_p is not None:
            self.options["top_p"] = top_p
        if logprobs:
            self.options |= {"logprobs": True, "top_logprobs": logprobs}
        self.budget = "max_completion_tokens"
        self.arrived: queue.Queue[tuple[int, Reply | None, Exception | None]] = queue.Queue()
        self.wanted: dict[int, asyncio.Future[bool]] = {}
        self.answered = False
        self.stop: Callable[[], None] = lambda: None

    def run(self) -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._talk, args=(loop,), daemon=True)
        thread.start()
        failures: list[Exception] = []
        try:
            for _ in self.questions:
                while True:
                    index, reply, error = self.arrived.get()
                    if error is not None:
                        if isinstance(error, UserError):
                            raise error
                        failures.append(error)
                        break
                    assert reply is not None
                    self.answered = True
                    is_useful = self.on_reply(index, reply)
                    loop.call_soon_threadsafe(self.wanted.pop(index).set_result, is_useful)
                    if is_useful:
                        break
        finally:
            # Where the loop has ended by itself there is nothing left to stop.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: self.stop())
            thread.join()
        if failures:
            raise EndpointFailed(
                f"{len(failures)} of {len(self.questions)} answers could not be had from {self.endpoint.base_url} "
                f"({_said(failures[0])}); the same command asks for them again and keeps the rest; where it goes on so, "
                "ask another model"
            )

    def _talk(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)

        async def all_of_them() -> None:
            limit = asyncio.Semaphore(self.endpoint.concurrency)
            client = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url, api_key=self.endpoint.api_key, max_retries=0, timeout=None
            )
            async with client:
                tasks = [
                    asyncio.ensure_future(self._one(client, limit, index, messages))
                    for index, messages in enumerate(self.questions)
                ]
                stop = asyncio.get_running_loop().create_future()
                self.stop = lambda: None if stop.done() else stop.set_result(None)
                done = asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.wait([done, stop], return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        try:
            loop.run_until_complete(all_of_them())
        except Exception as error:
            for index in range(len(self.questions)):
                self.arrived.put((index, None, error))
        finally:
            loop.close()

    async def _one(self, client: openai.AsyncOpenAI, limit: asyncio.Semaphore, index: int, messages: Messages) -> None:
        """Ask until there is an answer of use; hand over each answer, or what went wrong in the end, whatever it is."""
        try:
            await self._until_useful(client, limit, index, messages)
        except Exception as error:
            self.arrived.put((index, None, error))

    async def _until_useful(
        self, client: openai.AsyncOpenAI, limit: asyncio.Semaphore, index: int, messages: Messages
    ) -> None:
        room, wait, error = self.max_tokens, self.endpoint.first_wait, Exception("no answer of use came back")
        async with limit:
            for attempt in range(self.endpoint.attempts):
                sent = {*self.options, self.budget}
                try:
                    reply = await asyncio.wait_for(self._call(client, index, messages, room), self.endpoint.timeout)
                except _PASSING as passing:
                    error = passing
                    pause = wait * (1 + random.random() / 4)
                except openai.APIStatusError as refused:
                    if _is_passing(refused):
                        error = refused
                        pause = max(wait * (1 + random.random() / 4), _asked_to_wait(refused))
                    elif not _is_about_content(refused) and self._without(str(refused), sent):
                        pause = 0.0
                    elif (about := await self._its_own(client, refused)) is None:
                        error, pause = refused, wait
                    elif about.refused:
                        if not await self._hand_over(index, about):
                            self.arrived.put(
                                (index, None, EndpointFailed(f"it refuses the question: {about.complaint}"))
                            )
                        return
                    else:
                        self.arrived.put((index, None, UserError(self._refused(refused))))
                        return
                else:
                    if await self._hand_over(index, reply):
                        return
                    room, pause = max(room, 1024), 0.0
                    error = EndpointFailed(f"it answered {reply.text[:60]!r}")
                if attempt + 1 < self.endpoint.attempts:
                    await asyncio.sleep(min(pause, _LONGEST_WAIT))
                    wait *= 2
        if isinstance(error, openai.APIConnectionError | TimeoutError) and not self.answered:
            error = UserError(
                f"the model at {self.endpoint.base_url} cannot be reached ({_said(error)}); start its server, or "
                "correct the base URL"
            )
        self.arrived.put((index, None, error))

    async def _hand_over(self, index: int, reply: Reply) -> bool:
        """Whether the answer is of use."""
        useful: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.wanted[index] = useful
        self.arrived.put((index, reply, None))
        return await useful

    async def _its_own(self, client: openai.AsyncOpenAI, refused: openai.APIStatusError) -> Reply | None:
        """A refused reply where a refusal is about what one question says: it says so, or a question is answered that
        nobody refuses. A reply that is not refused where the server refuses everything, None where that cannot be told for
        now. Its tokens are those that finding out took."""
        complaint = Reply("", refused=True, finish="content_filter", complaint=_said(refused))
        if _is_about_content(refused):
            return complaint
        if refused.status_code not in _PERHAPS_ITS_OWN:
            return Reply("")
        try:
            asked = self._call(client, 0, _HARMLESS, self.max_tokens)
            harmless = await asyncio.wait_for(asked, self.endpoint.timeout)
        except _PASSING:
            return None
        except openai.APIStatusError as again:
            return None if _is_passing(again) else Reply("")
        return replace(complaint, prompt_tokens=harmless.prompt_tokens, completion_tokens=harmless.completion_tokens)

    async def _call(self, client: openai.AsyncOpenAI, index: int, messages: Messages, room: int) -> Reply:
        options = dict(self.options)
        if self.seeds is not None:
            options["seed"] = self.seeds[index]
        options |= {"model": self.endpoint.model, "messages": messages, self.budget: room}
        create: Callable[..., Awaitable[Any]] = client.chat.completions.create
        return reply_of(await create(**options))

    def _without(self, complaint: str, sent: set[str]) -> bool:
        """Give up an option that the server does not know. sent: what the refused question had. True where it is worth
        asking again without."""
        if "logprobs" in complaint and "logprobs" in sent:
            self.options.pop("logprobs", None)
            self.options.pop("top_logprobs", None)
            return True
        if "max_completion_tokens" in complaint and "max_completion_tokens" in sent:
            self.budget = "max_tokens"
            return True
        for name in ("temperature", "top_p"):
            if name in complaint and name in sent:
                self.options.pop(name, None)
                return True
        return False

    def _refused(self, error: openai.APIStatusError) -> str:
        place = f"{self.endpoint.model!r} at {self.endpoint.base_url}"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return f"{place} does not accept the API key; correct it in the environment"
        return f"{place} refuses the question: {_said(error)}"


def _is_passing(error: openai.APIStatusError) -> bool:
    return error.status_code in _PASSING_STATUS or error.status_code >= 500


def _is_about_content(error: openai.APIStatusError) -> bool:
    return error.status_code in (*_PERHAPS_ITS_OWN, 403) and _ABOUT_CONTENT.search(str(error)) is not None


def _asked_to_wait(error: openai.APIStatusError) -> float:
    """Seconds the server asked us to wait."""
    try:
        return float(error.response.headers.get("retry-after", 0.0))
    except ValueError:
        return 0.0


def _said(error: Exception) -> str:
    text = clean(str(error)) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "…"
