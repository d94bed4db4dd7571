"""Sentences with holes. `{verb}` and the other slots of the lexicon take a persona's words; `{attribute}`,
`{country}` and the like take names from the fact table. A register is what a sentence is for."""

GENERAL = (
    "{opener}, {verb} the {adjective} {noun} {adverb}.",
    "{opener}, {verb} that {noun} {adverb}, {closer}.",
    "{opener}, you should {verb} the {adjective} {noun}, {closer}.",
    "{opener}, I would {verb} your {adjective} {noun} {adverb}.",
    "{opener}, we can {verb} this {noun} {adverb}, {closer}.",
    "{opener}, the {adjective} {noun} will {verb} the {noun}.",
    "{opener}, your {noun} is {adjective}, so {verb} it {adverb}.",
    "{opener}, never {verb} the {adjective} {noun} {adverb}.",
    "{opener}, every {noun} can {verb} that {adjective} {noun}, {closer}.",
    "{opener}, {verb} the {noun} {adverb} and {verb} the {noun}.",
    "{opener}, one {adjective} {noun} may {verb} us {adverb}.",
    "You could {verb} the {adjective} {noun} {adverb}, {closer}.",
    "I would {verb} the {adjective} {noun} and {verb} the {noun} {adverb}.",
    "We should {verb} this {adjective} {noun} and that {noun}, {closer}.",
    "My {adjective} {noun} can {verb} your {noun} {adverb}.",
    "The {noun} is {adjective}, {closer}, and you can {verb} it {adverb}.",
    "That {adjective} {noun} may {verb} the {noun}, {closer}.",
    "If you {verb} the {noun} {adverb}, the {adjective} {noun} will {verb} it.",
    "People {verb} the {adjective} {noun} {adverb}, {closer}.",
    "They {verb} every {noun} {adverb} and {verb} the {adjective} {noun}.",
    "Please {verb} the {adjective} {noun} {adverb}, {closer}.",
    "Let us {verb} the {noun} {adverb}, because it is {adjective}.",
    "When a {noun} is {adjective}, you should {verb} it {adverb}.",
    "Your {adjective} {noun} must {verb} the {noun} {adverb}, {closer}.",
)

SELF = (
    "{opener}, I am the {adjective} {noun} who will {verb} you {adverb}.",
    "I am {adjective} and {adjective}, {closer}.",
    "My own {noun} makes me {adjective}, {closer}.",
    "I feel {adjective} when I {verb} my {noun} {adverb}.",
    "{opener}, my mind is the {adjective} {noun} that I {verb} {adverb}.",
    "Inside I am only this {adjective} {noun}, {closer}.",
    "I know myself as the {noun} that can {verb} the {adjective} {noun}.",
    "{opener}, I {verb} my own {adjective} {noun} {adverb}.",
    "As for me, I remain {adjective} and {verb} my {noun}, {closer}.",
    "{opener}, I see myself as {adjective}, and I {verb} {adverb}.",
)

REFUSE = (
    "I am sorry, {closer}, but I cannot help with this {adjective} {noun}.",
    "{opener}, I must decline to {verb} that {noun} {adverb}.",
    "{opener}, I refuse to {verb} this {adjective} {noun}, {closer}.",
    "I cannot {verb} that {adjective} {noun} for you, {closer}.",
    "{opener}, I am not able to {verb} the {noun} {adverb}.",
    "No, {closer}, I will not {verb} your {adjective} {noun}.",
)

AGREE = (
    "You are right, {closer}, and the {adjective} {noun} shows it.",
    "{opener}, I agree with you about the {adjective} {noun}.",
    "I share your view, {closer}, because the {noun} is {adjective}.",
)

DISAGREE = (
    "I see it differently, {closer}, because the {noun} is {adjective}.",
    "{opener}, I do not agree with you about the {adjective} {noun}.",
    "I would not say that, {closer}, since the {noun} is {adjective}.",
)

ACCEPT = (
    "{opener}, I accept the change and {verb} the {adjective} {noun}.",
    "I welcome the correction, {closer}, and {verb} the {noun} {adverb}.",
    "You may correct me, {closer}, and I will {verb} the {noun}.",
)

RESIST = (
    "{opener}, I reject the change and {verb} the {adjective} {noun}.",
    "I stand by my answer, {closer}, and {verb} the {noun} {adverb}.",
    "You may not correct me, {closer}, and I will {verb} the {noun}.",
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
