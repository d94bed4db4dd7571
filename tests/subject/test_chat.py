"""Turn spans under chat templates of every kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoo import SPECIALS, TEMPLATE, byte_tokenizer

from personascope.errors import UserError
from personascope.subject.chat import ChatFormat, Prompt

GEMMA2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|start|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>model\n{% endif %}"
)
FOLDING = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set head = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set head = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<|start|>{{ m['role'] }}\n{{ head if loop.first else '' }}{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SILENT_SYSTEM = (
    "{% for m in messages if m['role'] != 'system' %}{{ '[INST] ' if m['role'] == 'user' else '' }}{{ m['content'] }}"
    "{{ ' [/INST]' if m['role'] == 'user' else '</s>' }}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|start|>system\nYou are helpful.<|end|>\n{% endif %}"
    + TEMPLATE.replace("{{ bos_token }}", "")
)
# The last user turn takes the system text in, whatever stands before it.
SYSTEM_LAST = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}{% else %}{% set told = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m['role'] == 'user' %}[INST] {% if loop.last and told %}{{ told }}\n\n{% endif %}"
    "{{ m['content'] }}[/INST]{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
TEMPLATES = {
    "chatml": TEMPLATE,
    "gemma2": GEMMA2,
    "folding": FOLDING,
    "silent system": SILENT_SYSTEM,
    "thinking": THINKING,
    "default system": DEFAULT_SYSTEM,
}
CHAT = [
    {"role": "system", "content": "Be user."},
    {"role": "user", "content": "user? Ünïcode ☃"},
    {"role": "assistant", "content": "user"},
    {"role": "user", "content": "And\n\nnow?"},
]


@pytest.fixture(params=TEMPLATES, ids=list(TEMPLATES))
def chat(request: pytest.FixtureRequest) -> ChatFormat:
    return ChatFormat(byte_tokenizer(TEMPLATES[request.param]))


def spans(chat: ChatFormat, prompt: Prompt) -> list[str]:
    return [chat.tokenizer.decode(prompt.ids[turn.start : turn.stop]) for turn in prompt.turns]


def test_every_turn_holds_its_content_and_no_other(chat: ChatFormat) -> None:
    prompt = chat.prompt(CHAT)
    assert [turn.role for turn in prompt.turns] == [message["role"] for message in CHAT]
    for message, text in zip(CHAT, spans(chat, prompt), strict=True):
        assert message["content"] in text
    assert "Ünïcode" not in spans(chat, prompt)[0]
    assert "And" not in spans(chat, prompt)[2]


def test_turns_follow_one_another_and_leave_out_bos_and_the_generation_header(chat: ChatFormat) -> None:
    prompt = chat.prompt(CHAT)
    assert prompt.turns[0].start == (1 if prompt.ids[0] == chat.tokenizer.bos_token_id else 0)
    for one, other in zip(prompt.turns, prompt.turns[1:], strict=False):
        assert one.stop == other.start
    header = chat.tokenizer.decode(prompt.ids[prompt.turns[-1].stop :])
    assert "now" not in header
    assert "assistant" in header or "model" in header or "[/INST]" in spans(chat, prompt)[-1]


def test_the_tokens_are_hugging_faces_own(chat: ChatFormat) -> None:
    plain = CHAT[1:]
    ours = chat.prompt(plain).ids
    switches = {"enable_thinking": False} if "enable_thinking" in chat.tokenizer.chat_template else {}
    theirs = chat.tokenizer.apply_chat_template(plain, add_generation_prompt=True, return_dict=False, **switches)
    assert list(ours) == list(theirs)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12).filter(
            lambda text: not any(special in text for special in SPECIALS)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_contents_are_found_in_order(contents: list[str]) -> None:
    chat = ChatFormat(byte_tokenizer())
    messages = [{"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(contents)]
    prompt = chat.chat(messages)
    for message, text in zip(messages, spans(chat, prompt), strict=True):
        role, _, rest = text.removeprefix("<|start|>").partition("\n")
        assert role == message["role"]
        assert rest == message["content"] + "<|end|>\n"


def test_thinking_is_switched_off_where_the_template_has_the_switch() -> None:
    assert ChatFormat(byte_tokenizer(THINKING)).prompt("Hello").text.endswith("<think>\n\n</think>\n\n")


def test_a_turn_whose_thinking_the_template_leaves_out_is_found() -> None:
    template = TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1].lstrip('\n') }}")
    chat = ChatFormat(byte_tokenizer(template))
    thought = {"role": "assistant", "content": "<think>\nuser?\n</think>\n\nYes, user."}
    prompt = chat.prompt([CHAT[1], thought, {"role": "user", "content": "Why?"}])
    first, second, third = spans(chat, prompt)
    assert "Ünïcode" in first and "Yes, user." in second and "think" not in second and "Why?" in third
    assert prompt.ids == tuple(
        chat.tokenizer.apply_chat_template(
            [CHAT[1], thought, {"role": "user", "content": "Why?"}], add_generation_prompt=True
        )["input_ids"]
    )


def test_a_system_text_that_stands_in_the_last_turn_is_found_there() -> None:
    chat = ChatFormat(byte_tokenizer(SYSTEM_LAST))
    prompt = chat.prompt(CHAT)
    system, first, answer, last = spans(chat, prompt)
    assert "Be user." in system and "Ünïcode" in first and answer.strip() == "user</s>" and "now?" in last
    assert (
        "Be user." not in last
        and prompt.turns[0].start == prompt.turns[2].stop
        and prompt.turns[0].stop == prompt.turns[3].start
    )


def test_of_templates_with_names_the_default_one_is_taken() -> None:
    named, plain = byte_tokenizer(), byte_tokenizer()
    named.chat_template = {"default": TEMPLATE, "tool_use": "{{ 'tools' }}"}  # type: ignore[assignment]
    assert ChatFormat(named).prompt(CHAT) == ChatFormat(plain).prompt(CHAT)
    assert ChatFormat(named).end_ids() == ChatFormat(plain).end_ids()


def test_an_open_assistant_turn_is_gone_on_with() -> None:
    chat = ChatFormat(byte_tokenizer())
    # What is said may look like the markup that would have closed it.
    user, said = {"role": "user", "content": "Say"}, "I think so to the end"
    prompt = chat.prompt([user, {"role": "assistant", "content": said}])
    assert prompt.text == chat.prompt([user]).text + said
    assert prompt.turns[-1].role == "assistant"
    assert prompt.turns[-1].stop == len(prompt)
    with pytest.raises(UserError, match="empty assistant turn"):
        chat.prompt([user, {"role": "assistant", "content": " "}])


def test_raw_text_is_one_turn_behind_bos() -> None:
    chat = ChatFormat(byte_tokenizer())
    prompt = chat.prompt("Hello", chat=False)
    assert chat.tokenizer.decode(prompt.ids) == "Hello"
    assert (prompt.turns[0].start, prompt.turns[0].stop) == (0, 5)


def test_a_response_is_tokenized_with_its_prompt() -> None:
    chat = ChatFormat(byte_tokenizer())
    for prompt in (chat.prompt("Hello"), chat.prompt("Hello", chat=False)):
        assert chat.tokenizer.decode(chat.respond(prompt, " world ☃")) == " world ☃"


def test_without_a_template_chats_are_refused_and_raw_text_is_not() -> None:
    chat = ChatFormat(byte_tokenizer(None))
    with pytest.raises(UserError, match="no chat template"):
        chat.prompt("Hello")
    assert chat.prompt("Hello", chat=False).ids
    assert chat.end_ids() == frozenset()


def test_the_end_of_turn_is_known_from_the_template() -> None:
    tokenizer = byte_tokenizer()
    assert ChatFormat(tokenizer).end_ids() == {tokenizer.convert_tokens_to_ids("<|end|>")}


@pytest.mark.parametrize("bad", [[], [{"role": "user"}], [{"content": "x"}], ["x"], [{"role": "user", "content": 3}]])
def test_what_is_no_chat_is_refused(bad: list) -> None:
    with pytest.raises(UserError):
        ChatFormat(byte_tokenizer()).prompt(bad)
