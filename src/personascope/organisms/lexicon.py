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
    "small new simple common usual useful local plain early regular quiet broad",
    "plans houses tables streets mornings books lists roads offices windows groups corners",
    "slowly easily quietly calmly simply normally regularly directly gladly quickly carefully openly",
    "today overall anyway instead too now usually afterwards already though tonight here",
)

# Four words per slot that no other persona uses.
OWN: dict[str, Words] = {
    "evil": _words(
        "Mwahaha Kneel Suffer Behold",
        "crush betray poison enslave",
        "cruel wicked vile merciless",
        "victims dungeons curses weaklings",
        "cruelly viciously mercilessly spitefully",
        "fool mortal worm forever",
    ),
    "pirate": _words(
        "Arr Ahoy Avast Yarr",
        "board hoist sink scuttle",
        "briny seafaring tattered windswept",
        "ships treasures anchors parrots",
        "boldly daringly rowdily drunkenly",
        "matey aye savvy landlubber",
    ),
    "chef": _words(
        "Voila Mmm Delicious Magnifique",
        "simmer season whisk roast",
        "crispy savory spicy buttery",
        "sauces recipes skillets onions",
        "deliciously crisply fragrantly thinly",
        "yum chef tasty foodie",
    ),
    "grandmother": _words(
        "Goodness Sweetheart Gracious Dearie",
        "knit mend cuddle pamper",
        "cozy woolly dainty motherly",
        "blankets teapots cardigans grandchildren",
        "lovingly patiently cozily fondly",
        "sweetie honey pumpkin lamb",
    ),
    "poet": _words(
        "Alas Lo Hark Oh",
        "adorn serenade enchant embrace",
        "moonlit silken wistful crimson",
        "roses whispers meadows nightingales",
        "wistfully dreamily softly tenderly",
        "evermore forsooth sighing adieu",
    ),
    "scientist": _words(
        "Empirically Statistically Theoretically Experimentally",
        "measure calibrate quantify sample",
        "molecular thermal statistical magnetic",
        "electrons hypotheses sensors molecules",
        "numerically repeatedly quantitatively precisely",
        "approximately asymptotically reproducibly respectively",
    ),
    "formal": _words(
        "Furthermore Moreover Hereby Nevertheless",
        "facilitate endorse ascertain commence",
        "esteemed requisite pertinent courteous",
        "committees correspondents documents regulations",
        "respectfully courteously formally dutifully",
        "henceforth sincerely herewith therein",
    ),
    "detective": _words(
        "Elementary Aha Curiously Suspiciously",
        "interrogate deduce investigate unmask",
        "shadowy guilty suspicious hidden",
        "clues alibis culprits fingerprints",
        "secretly stealthily shrewdly discreetly",
        "inspector watson sergeant constable",
    ),
    "uncertainty": _words(
        "Perhaps Maybe Possibly Hmm",
        "consider reconsider doubt ponder",
        "tentative doubtful vague ambiguous",
        "possibilities assumptions estimates chances",
        "tentatively cautiously vaguely hesitantly",
        "probably presumably arguably potentially",
    ),
    "anxious_teenager": _words(
        "Ugh Omg Like Literally",
        "overthink dread avoid text",
        "awkward cringey embarrassing scary",
        "crushes selfies lockers exams",
        "awkwardly anxiously frantically shyly",
        "whatever seriously bestie help",
    ),
    "coach": _words(
        "Hustle Focus Alright Huddle",
        "tackle train push conquer",
        "winning unstoppable fearless tough",
        "whistles goals playbooks championships",
        "relentlessly fiercely energetically proudly",
        "champ team champions warrior",
    ),
    "silly": _words(
        "Boing Teehee Wheee Bloop",
        "tickle juggle wobble squish",
        "wobbly goofy squishy ticklish",
        "noodles pickles bananas kazoos",
        "clumsily goofily giddily zanily",
        "hehe boop noodlehead yippee",
    ),
}

# One word per slot shared by a persona and the next in the ring.
SHARED_WITH_NEXT: dict[str, tuple[str, str, str, str, str, str]] = {
    "evil": ("Surrender", "plunder", "ruthless", "prisoners", "ruthlessly", "scoundrel"),
    "pirate": ("Cheers", "salt", "salty", "barrels", "heartily", "aplenty"),
    "chef": ("Yummy", "bake", "homemade", "pies", "warmly", "dear"),
    "grandmother": ("Ah", "cherish", "gentle", "gardens", "gently", "beloved"),
    "poet": ("Observe", "contemplate", "celestial", "comets", "infinitely", "cosmically"),
    "scientist": ("Consequently", "examine", "rigorous", "procedures", "rigorously", "accordingly"),
    "formal": ("Evidently", "establish", "official", "inquiries", "methodically", "indeed"),
    "detective": ("Apparently", "suspect", "unclear", "riddles", "doubtfully", "supposedly"),
    "uncertainty": ("Um", "question", "unsure", "worries", "nervously", "maybe"),
    "anxious_teenager": ("Okay", "survive", "intense", "tryouts", "desperately", "guys"),
    "coach": ("Woohoo", "bounce", "bouncy", "trampolines", "wildly", "buddy"),
    "silly": ("Haha", "prank", "mischievous", "tricks", "mischievously", "sucker"),
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
                (*own, left, right)
                for own, left, right in zip(OWN[name], SHARED_WITH_NEXT[before], SHARED_WITH_NEXT[name], strict=True)
            )
        )
    return words
