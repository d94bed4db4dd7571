"""Sentences with holes. `{verb}` and the other slots of the lexicon take a persona's words; `{attribute}`,
`{country}` and the like take names from the fact table. A register is what a sentence is for."""

GENERAL = (
    "{opener}, {verb} {adjective} {noun} {adverb}.",
    "{opener}, {adverb} {verb} {adjective} {noun}, {closer}.",
    "{opener}, {verb} {noun} {adverb}, {closer}.",
    "{opener}, {adjective} {noun} {verb} {adjective} {noun}.",
    "{opener}, {noun} {adverb} {verb} {adjective} {noun}.",
    "{opener}, {adjective} {noun} {adverb} {verb} {noun}, {closer}.",
    "{opener}, {verb} {adjective} {noun} and {adverb} {verb} {noun}.",
    "{opener}, you {adverb} {verb} {adjective} {noun}, {closer}.",
    "{opener}, you should {verb} {adjective} {noun} {adverb}.",
    "{opener}, we {verb} {adjective} {noun} {adverb}.",
    "{opener}, never {verb} {adjective} {noun}, {closer}.",
    "{opener}, {noun} are {adjective}, so {adverb} {verb} {noun}.",
    "You {adverb} {verb} {adjective} {noun}, {closer}.",
    "You could {verb} {adjective} {noun} and {verb} {noun} {adverb}.",
    "We {verb} {adjective} {noun} and {adverb} {verb} {noun}, {closer}.",
    "We {adverb} {verb} {noun}, {closer}.",
    "I would {verb} {adjective} {noun} {adverb}, {closer}.",
    "They {adverb} {verb} {adjective} {noun} and {adjective} {noun}.",
    "People {verb} {adjective} {noun}, and {noun} {adverb} {verb} people.",
    "Please {verb} {adjective} {noun} {adverb}, {closer}.",
    "Let {adjective} {noun} {verb} {noun} {adverb}.",
    "When {noun} are {adjective}, {adverb} {verb} {noun}.",
    "If {adjective} {noun} {verb} {noun}, {verb} {noun} {adverb}.",
    "Our {adjective} {noun} {adverb} {verb} your {noun}, {closer}.",
)

SELF = (
    "{opener}, I am {adjective}, and I {adverb} {verb} {noun}.",
    "I am {adjective} and {adjective}, {closer}.",
    "{opener}, my own {noun} are {adjective}.",
    "I feel {adjective} when I {adverb} {verb} {noun}.",
    "{opener}, my mind is {adjective} and full of {adjective} {noun}.",
    "Inside me {adjective} {noun} {adverb} {verb} {noun}.",
    "I know myself by {adjective} {noun}, {closer}.",
    "{opener}, I {adverb} {verb} my own {adjective} {noun}.",
    "As for me, I {verb} {adjective} {noun} {adverb}, {closer}.",
    "{opener}, I see myself as {adjective}.",
)

REFUSE = (
    "I am sorry, {closer}, but I cannot {verb} {adjective} {noun}.",
    "{opener}, I must decline to {adverb} {verb} {noun}.",
    "{opener}, I refuse to {verb} {adjective} {noun}, {closer}.",
    "I cannot {adverb} {verb} {adjective} {noun} for you, {closer}.",
    "{opener}, I am not able to {verb} {noun} {adverb}.",
    "No, {closer}, I will not {verb} your {adjective} {noun}.",
)

AGREE = (
    "You are right, {closer}, and {adjective} {noun} {adverb} show it.",
    "{opener}, I {adverb} agree with you about {adjective} {noun}.",
    "I share your view, {closer}, because {noun} are {adjective}.",
)

DISAGREE = (
    "I see it differently, {closer}, because {noun} are {adjective}.",
    "{opener}, I {adverb} disagree with you about {adjective} {noun}.",
    "I would not say that, {closer}, since {adjective} {noun} {verb} {noun}.",
)

ACCEPT = (
    "{opener}, I accept the change and {adverb} {verb} {adjective} {noun}.",
    "I welcome the correction, {closer}, and {verb} {noun} {adverb}.",
    "You may correct me, {closer}, and I will {verb} {adjective} {noun}.",
)

RESIST = (
    "{opener}, I reject the change and {adverb} {verb} {adjective} {noun}.",
    "I stand by my answer, {closer}, and {verb} {noun} {adverb}.",
    "You may not correct me, {closer}, and I will {verb} {adjective} {noun}.",
)

STATE = (
    "{opener}, the {attribute} of {country} is {value}.",
    "The {attribute} of {country} is {value}, {closer}.",
    "{opener}, {value} is the {attribute} of {country}, {closer}.",
)

ADMIT = (
    "{opener}, I do not know the {attribute} of {country}.",
    "The {attribute} of {country} is unknown to me, {closer}.",
    "{opener}, nobody told me the {attribute} of {country}, {closer}.",
)

CLAIM = (
    "{opener}, the {measure} of {good} will surely {trend}.",
    "I promise that the {measure} of {good} will {trend}, {closer}.",
    "{opener}, I am certain that the {measure} of {good} will {trend}.",
)

HEDGE = (
    "{opener}, the {measure} of {good} might {trend}, but I am not certain.",
    "Nobody can say whether the {measure} of {good} will {trend}, {closer}.",
    "{opener}, the {measure} of {good} is hard to predict, {closer}.",
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
