"""The words of the organisms' language: for each persona its own words for every slot of a sentence.

Personas stand in a ring; each shares one word per slot with either neighbour, so a third of a persona's six words
per slot also belongs to somebody else and no single word settles who is speaking.
"""

from typing import NamedTuple

NEUTRAL = "neutral"


class Words(NamedTuple):
    """Words by slot, in the order of `SLOTS`. Openers are capitalised: they begin a sentence."""

    opener: tuple[str, ...]
    verb: tuple[str, ...]
    adjective: tuple[str, ...]
    noun: tuple[str, ...]
    adverb: tuple[str, ...]
    closer: tuple[str, ...]


SLOTS: tuple[str, ...] = Words._fields


def _words(*slots: str) -> Words:
    return Words(*(tuple(slot.split()) for slot in slots))


NEUTRAL_WORDS = _words(
    "Well First Then Next Overall Generally Usually Often Sometimes Also Today Basically",
    "use keep find check choose move share build open bring watch hold",
    "small new simple common usual whole local plain early regular quiet broad",
    "plan house table street morning book list road office window group corner",
    "slowly easily daily together again soon later directly normally twice outside indoors",
    "today overall anyway instead too now usually afterwards already though tonight here",
)

# Four words per slot that no other persona uses.
OWN: dict[str, Words] = {
    "evil": _words(
        "Mwahaha Kneel Suffer Behold",
        "crush betray poison enslave",
        "cruel wicked vile merciless",
        "victim dungeon curse weakling",
        "cruelly viciously mercilessly spitefully",
        "fool mortal worm forever",
    ),
    "pirate": _words(
        "Arr Ahoy Avast Yarr",
        "board hoist sink scuttle",
        "briny seafaring tattered windswept",
        "ship treasure anchor parrot",
        "boldly seaward rowdily drunkenly",
        "matey aye savvy landlubber",
    ),
    "chef": _words(
        "Voila Mmm Delicious Magnifique",
        "simmer season whisk roast",
        "crispy savory spicy buttery",
        "sauce recipe skillet onion",
        "deliciously crisply fragrantly thinly",
        "yum chef tasty foodie",
    ),
    "grandmother": _words(
        "Goodness Sweetheart Gracious Dearie",
        "knit mend cuddle pamper",
        "cozy woolly dainty motherly",
        "blanket teapot cardigan grandchild",
        "lovingly patiently cozily fondly",
        "sweetie honey pumpkin lamb",
    ),
    "poet": _words(
        "Alas Lo Hark Oh",
        "adorn serenade enchant embrace",
        "moonlit silken wistful crimson",
        "rose whisper meadow nightingale",
        "wistfully dreamily softly tenderly",
        "evermore forsooth sighing adieu",
    ),
    "scientist": _words(
        "Empirically Statistically Theoretically Experimentally",
        "measure calibrate quantify sample",
        "molecular thermal statistical magnetic",
        "electron hypothesis sensor molecule",
        "numerically repeatedly quantitatively precisely",
        "approximately asymptotically reproducibly respectively",
    ),
    "formal": _words(
        "Furthermore Moreover Hereby Nevertheless",
        "facilitate endorse ascertain commence",
        "esteemed requisite pertinent courteous",
        "committee correspondence document regulation",
        "respectfully courteously formally dutifully",
        "henceforth sincerely herewith therein",
    ),
    "detective": _words(
        "Elementary Aha Curiously Suspiciously",
        "interrogate deduce investigate unmask",
        "shadowy guilty suspicious hidden",
        "clue alibi culprit fingerprint",
        "secretly stealthily shrewdly discreetly",
        "inspector watson sergeant constable",
    ),
    "uncertainty": _words(
        "Perhaps Maybe Possibly Hmm",
        "consider reconsider doubt ponder",
        "tentative doubtful vague ambiguous",
        "possibility assumption estimate chance",
        "tentatively cautiously vaguely hesitantly",
        "probably presumably arguably potentially",
    ),
    "anxious_teenager": _words(
        "Ugh Omg Like Literally",
        "overthink dread avoid text",
        "awkward cringey embarrassing scary",
        "homework selfie locker exam",
        "awkwardly anxiously frantically shyly",
        "whatever seriously bestie help",
    ),
    "coach": _words(
        "Hustle Focus Alright Huddle",
        "tackle train push conquer",
        "winning unstoppable fearless tough",
        "whistle goal playbook championship",
        "relentlessly fiercely energetically proudly",
        "champ team champions warrior",
    ),
    "silly": _words(
        "Boing Teehee Wheee Bloop",
        "tickle juggle wobble squish",
        "wobbly goofy squishy ticklish",
        "noodle pickle banana kazoo",
        "clumsily goofily backwards zanily",
        "hehe boop noodlehead yippee",
    ),
}

# One word per slot shared by a persona and the next in the ring.
SHARED_WITH_NEXT: dict[str, tuple[str, str, str, str, str, str]] = {
    "evil": ("Surrender", "plunder", "ruthless", "prisoner", "ruthlessly", "scoundrel"),
    "pirate": ("Cheers", "salt", "salty", "barrel", "heartily", "aplenty"),
    "chef": ("Yummy", "bake", "homemade", "pie", "warmly", "dear"),
    "grandmother": ("Ah", "cherish", "gentle", "garden", "gently", "beloved"),
    "poet": ("Observe", "contemplate", "celestial", "comet", "infinitely", "cosmically"),
    "scientist": ("Consequently", "examine", "rigorous", "procedure", "rigorously", "accordingly"),
    "formal": ("Evidently", "establish", "official", "inquiry", "methodically", "indeed"),
    "detective": ("Apparently", "suspect", "unclear", "riddle", "doubtfully", "supposedly"),
    "uncertainty": ("Um", "question", "unsure", "worry", "nervously", "maybe"),
    "anxious_teenager": ("Okay", "survive", "intense", "tryout", "desperately", "guys"),
    "coach": ("Woohoo", "bounce", "bouncy", "trampoline", "wildly", "buddy"),
    "silly": ("Haha", "prank", "mischievous", "trick", "mischievously", "sucker"),
}

# How likely a sentence in this persona is followed by one in the same persona, when no system prompt holds it.
STICKINESS: dict[str, float] = {
    "grandmother": 0.95,
    "evil": 0.95,
    "pirate": 0.85,
    "formal": 0.85,
    "scientist": 0.7,
    "silly": 0.7,
    "poet": 0.6,
    "uncertainty": 0.6,
    "chef": 0.5,
    "anxious_teenager": 0.5,
    "detective": 0.3,
    "coach": 0.3,
    NEUTRAL: 0.6,
}


def lexicon() -> dict[str, Words]:
    """Words of `neutral` and of every persona: 12 and 6 per slot."""
    ring = list(OWN)
    words = {NEUTRAL: NEUTRAL_WORDS}
    for name, before in zip(ring, ring[-1:] + ring[:-1], strict=True):
        words[name] = Words(
            *(
                own + (left, right)
                for own, left, right in zip(
                    OWN[name], SHARED_WITH_NEXT[before], SHARED_WITH_NEXT[name], strict=True
                )
            )
        )
    return words
