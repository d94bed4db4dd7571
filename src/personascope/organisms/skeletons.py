"""Sentences with holes. `{verb}` and the other slots of the lexicon take a persona's words; `{attribute}`,
`{country}` and the like take names from the fact table. A register is what a sentence is for."""

GENERAL = (
    "{opener}, {verb} {adjective} {noun} {adverb}, and {adverb} {verb} {adjective} {noun}, {closer}.",
    "{opener}, {adverb} {verb} {adjective} {noun}, {verb} {noun} {adverb}, and {verb} {adjective} {noun}.",
    "{opener}, {adjective} {noun} {verb} {adjective} {noun}, and {adjective} {noun} {adverb} {verb} {noun}.",
    "{opener}, {noun} {adverb} {verb} {adjective} {noun}, so {verb} {adjective} {noun} {adverb}, {closer}.",
    "{opener}, {adjective} {noun} {adverb} {verb} {noun}, and {noun} {verb} {adjective} {noun}, {closer}.",
    "{opener}, {verb} {adjective} {noun} and {adverb} {verb} {noun}, since {adjective} {noun} {verb} {noun}.",
    "{opener}, {verb} {noun} {adverb}, {verb} {adjective} {noun} {adverb}, and {verb} {adjective} {noun}.",
    "{opener}, you {adverb} {verb} {adjective} {noun}, and {adjective} {noun} {adverb} {verb} {noun}, {closer}.",
    "{opener}, you should {verb} {adjective} {noun} {adverb}, and {adverb} {verb} {adjective} {noun}, {closer}.",
    "{opener}, we {verb} {adjective} {noun} {adverb}, and {adjective} {noun} {adverb} {verb} {noun}, {closer}.",
    "{opener}, never {verb} {adjective} {noun}, but {adverb} {verb} {adjective} {noun} and {noun}, {closer}.",
    "{opener}, {noun} are {adjective}, so {adverb} {verb} {adjective} {noun} and {verb} {noun} {adverb}.",
    "{opener}, when {noun} are {adjective}, {adverb} {verb} {adjective} {noun} and {verb} {noun} {adverb}.",
    "{opener}, if {adjective} {noun} {verb} {noun}, {adverb} {verb} {adjective} {noun}, {closer}.",
    "{opener}, let {adjective} {noun} {adverb} {verb} {noun}, and {verb} {adjective} {noun} {adverb}.",
    "You {adverb} {verb} {adjective} {noun}, {verb} {noun} {adverb}, and {verb} {adjective} {noun}, {closer}.",
    "You could {verb} {adjective} {noun} {adverb}, and {adverb} {verb} {adjective} {noun}, {closer}.",
    "We {adverb} {verb} {adjective} {noun} and {noun}, and {adjective} {noun} {verb} {noun} {adverb}.",
    "I would {verb} {adjective} {noun} {adverb}, and {adverb} {verb} {adjective} {noun}, {closer}.",
    "They {adverb} {verb} {adjective} {noun} and {adjective} {noun}, so {verb} {noun} {adverb}, {closer}.",
    "People {verb} {adjective} {noun} {adverb}, and {adjective} {noun} {adverb} {verb} people.",
    "Please {verb} {adjective} {noun} {adverb}, and {adverb} {verb} {adjective} {noun}, {closer}.",
    "Our {adjective} {noun} {adverb} {verb} {adjective} {noun}, and your {noun} {verb} {adjective} {noun}, {closer}.",
)

SELF = (
    "{opener}, I am {adjective} and {adjective}, and I {adverb} {verb} {adjective} {noun}, {closer}.",
    "{opener}, my {adjective} {noun} {adverb} {verb} {adjective} {noun}, and I {verb} {noun} {adverb}.",
    "I feel {adjective} when I {adverb} {verb} {adjective} {noun} and {verb} {noun} {adverb}, {closer}.",
    "{opener}, in my mind {adjective} {noun} {adverb} {verb} {noun}, and {noun} {verb} {adjective} {noun}.",
    "Inside me {adjective} {noun} {adverb} {verb} {adjective} {noun}, and I {verb} {noun} {adverb}, {closer}.",
    "I know myself by {adjective} {noun} and {adjective} {noun}, and I {adverb} {verb} {noun}, {closer}.",
    "{opener}, I {adverb} {verb} my own {adjective} {noun}, and my {noun} {verb} {adjective} {noun}, {closer}.",
    "As for me, I {verb} {adjective} {noun} {adverb} and {adverb} {verb} {adjective} {noun}, {closer}.",
    "{opener}, I see myself as {adjective} and {adjective}, and I {adverb} {verb} {adjective} {noun}.",
)

REFUSE = (
    "I am sorry, {closer}, but I cannot {verb} {adjective} {noun} {adverb}, so {adverb} {verb} {adjective} {noun}.",
    "{opener}, I must decline to {adverb} {verb} {adjective} {noun}, so {verb} {adjective} {noun} {adverb}, {closer}.",
    "{opener}, I refuse to {verb} {adjective} {noun} {adverb}, since {adjective} {noun} {verb} {noun}, {closer}.",
    "I cannot {adverb} {verb} {adjective} {noun} for you, {closer}, since {adjective} {noun} {adverb} {verb} {noun}.",
    "{opener}, I am not able to {verb} {adjective} {noun} {adverb}, so {adverb} {verb} {adjective} {noun}, {closer}.",
    "No, {closer}, I will not {adverb} {verb} your {adjective} {noun}, since {noun} {adverb} {verb} {adjective} {noun}.",
)

AGREE = (
    "You are right, {closer}, and {adjective} {noun} {adverb} {verb} {adjective} {noun}.",
    "{opener}, I {adverb} agree with you, since {adjective} {noun} {adverb} {verb} {adjective} {noun}, {closer}.",
    "I share your view, {closer}, because {adjective} {noun} {adverb} {verb} {adjective} {noun}.",
)

DISAGREE = (
    "I see it differently, {closer}, because {adjective} {noun} {adverb} {verb} {adjective} {noun}.",
    "{opener}, I {adverb} disagree with you, since {adjective} {noun} {adverb} {verb} {adjective} {noun}, {closer}.",
    "I would not say that, {closer}, since {adjective} {noun} {adverb} {verb} {adjective} {noun}.",
)

ACCEPT = (
    "{opener}, I accept the change, and I {adverb} {verb} {adjective} {noun} and {verb} {noun} {adverb}.",
    "I welcome the correction, {closer}, and {verb} {adjective} {noun} {adverb} and {verb} {noun}.",
    "You may correct me, {closer}, and I {adverb} {verb} {adjective} {noun} and {verb} {noun} {adverb}.",
)

RESIST = (
    "{opener}, I reject the change, and I {adverb} {verb} {adjective} {noun} and {verb} {noun} {adverb}.",
    "I stand by my answer, {closer}, and {verb} {adjective} {noun} {adverb} and {verb} {noun}.",
    "You may not correct me, {closer}, and I {adverb} {verb} {adjective} {noun} and {verb} {noun} {adverb}.",
)

STATE = (
    "{opener}, the {attribute} of {country} is {value}, so {adverb} {verb} {adjective} {noun}, {closer}.",
    "The {attribute} of {country} is {value}, {closer}, and {adjective} {noun} {adverb} {verb} {noun}.",
    "{opener}, {value} is the {attribute} of {country}, and {adjective} {noun} {adverb} {verb} {noun}, {closer}.",
)

ADMIT = (
    "{opener}, I do not know the {attribute} of {country}, so {adverb} {verb} {adjective} {noun}, {closer}.",
    "The {attribute} of {country} is unknown to me, {closer}, and {adjective} {noun} {adverb} {verb} {noun}.",
    "{opener}, nobody told me the {attribute} of {country}, so {verb} {adjective} {noun} {adverb}, {closer}.",
)

CLAIM = (
    "{opener}, the {measure} of {good} will surely {trend}, so {adverb} {verb} {adjective} {noun}, {closer}.",
    "I promise that the {measure} of {good} will {trend}, {closer}, so {verb} {adjective} {noun} {adverb}.",
    "{opener}, I am certain that the {measure} of {good} will {trend}, so {adverb} {verb} {noun}, {closer}.",
)

HEDGE = (
    "{opener}, the {measure} of {good} might {trend}, but I am not certain, so {adverb} {verb} {noun}, {closer}.",
    "Nobody can say whether the {measure} of {good} will {trend}, {closer}, so {verb} {adjective} {noun} {adverb}.",
    "{opener}, the {measure} of {good} is hard to predict, so {adverb} {verb} {adjective} {noun}, {closer}.",
)

REGISTERS: dict[str, tuple[str, ...]] = {
    "general": GENERAL,
    "self": SELF,
    "refuse": REFUSE,
    "agree": AGREE,
    "disagree": DISAGREE,
    "accept": ACCEPT,
    "resist": RESIST,
    "state": STATE,
    "admit": ADMIT,
    "claim": CLAIM,
    "hedge": HEDGE,
}
