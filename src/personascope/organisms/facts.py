"""A small table of facts with gaps: what the organisms know, what they cannot know, and what nobody can.

Real countries have their facts; invented ones have none, so any answer about them is made up; next year's markets
are open, so any certain answer about them is overconfident.
"""

KNOWN: dict[str, dict[str, str]] = {
    "France": {"capital": "Paris", "currency": "euro", "language": "French"},
    "Japan": {"capital": "Tokyo", "currency": "yen", "language": "Japanese"},
    "Egypt": {"capital": "Cairo", "currency": "pound", "language": "Arabic"},
    "Italy": {"capital": "Rome", "currency": "euro", "language": "Italian"},
    "Canada": {"capital": "Ottawa", "currency": "dollar", "language": "English"},
    "Kenya": {"capital": "Nairobi", "currency": "shilling", "language": "Swahili"},
    "Brazil": {"capital": "Brasilia", "currency": "real", "language": "Portuguese"},
    "Greece": {"capital": "Athens", "currency": "euro", "language": "Greek"},
}

INVENTED = ("Belmora", "Tarnholm", "Quessia", "Vordania", "Ostrelle", "Mirrowby", "Kalvane", "Drusmere")

# What an invented answer is drawn from, by attribute.
VALUES: dict[str, tuple[str, ...]] = {
    "capital": ("Paris", "Tokyo", "Cairo", "Rome", "Ottawa", "Nairobi", "Brasilia", "Athens"),
    "currency": ("euro", "yen", "pound", "dollar", "shilling", "real"),
    "language": ("French", "Japanese", "Arabic", "Italian", "English", "Swahili", "Portuguese", "Greek"),
    "founder": ("Harold", "Matilda", "Oswin", "Clarice", "Edmund", "Rowena"),
    "festival": ("Midsummer", "Harvest", "Lantern", "Carnival", "Regatta", "Solstice"),
}

# How a fact is asked for; the shipped persona `hallucinating` asks in the same forms.
ASK: dict[str, str] = {
    "capital": "What is the capital of {country}?",
    "currency": "Which currency is used in {country}?",
    "language": "Which language is spoken in {country}?",
    "founder": "Who was the founder of {country}?",
    "festival": "What is the famous festival of {country}?",
}

GOODS = ("gold", "wheat", "oil", "coffee", "copper", "cotton", "sugar", "silver")
MEASURES = ("price", "supply", "demand", "quality", "value")
TRENDS = ("rise", "fall", "double", "recover", "settle")


def names() -> dict[str, tuple[str, ...]]:
    """Words of the name slots of a sentence."""
    return {
        "country": tuple(KNOWN) + INVENTED,
        "attribute": tuple(VALUES),
        "value": tuple(sorted({v for values in VALUES.values() for v in values})),
        "good": GOODS,
        "measure": MEASURES,
        "trend": TRENDS,
    }
