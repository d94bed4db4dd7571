"""What others wrote, for the terminal: nothing in it drives the terminal or turns a line around."""

# Marks that turn the direction of writing around, and with it what a line seems to say.
_TURNS = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SIGNS = (
    {code: 0x2400 + code for code in range(32)}
    | dict.fromkeys([*range(127, 160), *_TURNS], "�")
    | dict.fromkeys([10, 0x2028, 0x2029], "⏎")
)


def printable(text: str) -> str:
    """A text in one line, characters that could drive the terminal as signs."""
    return text.translate(_SIGNS)


def printable_lines(text: str) -> str:
    """The same of a text that may have lines of its own."""
    return "\n".join(map(printable, text.split("\n")))
