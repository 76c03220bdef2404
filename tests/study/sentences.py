"""Sentences made for these tests: French beside English, English with its syntax, plain English."""

from __future__ import annotations

import random
from dataclasses import dataclass

PHRASES = """
veut partir demain = wants to leave tomorrow
travaille à Paris = works in Paris
parle français = speaks French
aime la musique = likes music
habite à Boston = lives in Boston
ne sait pas nager = can't swim
lit un livre = is reading a book
attend le bus = is waiting for the bus
a acheté une voiture = bought a car
veut apprendre le japonais = wants to learn Japanese
mange une pomme = is eating an apple
boit du café = drinks coffee
chante très bien = sings very well
ne veut pas venir = doesn't want to come
peut nous aider = can help us
a oublié son parapluie = forgot the umbrella
regarde la télévision = is watching television
joue du piano = plays the piano
dort encore = is still sleeping
a besoin d'argent = needs money
cherche un emploi = is looking for a job
connaît la vérité = knows the truth
ne dit rien = says nothing
a peur des chiens = is afraid of dogs
écrit une lettre = is writing a letter
arrive toujours en retard = always comes late
a gagné la course = won the race
doit étudier davantage = must study more
pense à toi = is thinking of you
déteste les araignées = hates spiders
voyage souvent seul = often travels alone
a trois enfants = has three children
vend des fleurs = sells flowers
ouvre la porte = is opening the door
rentre à la maison = is going home
conduit trop vite = drives too fast
ne comprend pas la question = doesn't understand the question
a vu un film = saw a movie
vient de Russie = comes from Russia
prépare le dîner = is preparing dinner
court dans le parc = is running in the park
a répondu à ma lettre = answered my letter
préfère le thé = prefers tea
porte un chapeau = is wearing a hat
nage tous les jours = swims every day
a dit la vérité = told the truth
enseigne l'anglais = teaches English
ne mange pas de viande = doesn't eat meat
a raison = is right
danse avec Tom = is dancing with Tom
se lève tôt = gets up early
a quitté la ville = left the city
joue au tennis = plays tennis
apprend vite = learns fast
étudie le droit = is studying law
attend une réponse = is waiting for an answer
a fermé la fenêtre = closed the window
croit en Dieu = believes in God
ne fume pas = doesn't smoke
veut un chien = wants a dog
"""
PREDICATES = [tuple(line.split(" = ")) for line in PHRASES.strip().splitlines()]
PAIRS = [
    (f"{french} {predicate}.", f"{english} {translation}.")
    for i, (predicate, translation) in enumerate(PREDICATES)
    for french, english in [(("Elle", "She"), ("Il", "He"), ("Tom", "Tom"))[i % 3]]
]
NAMES = ["Tom", "Boston", "Paris", "John", "Tokyo", "Bill", "Jack", "Bob", "Berlin", "Nancy"]
SHARED = [
    (f"{frame.format(name)}.", f"{translation.format(name)}.", name)
    for name in NAMES
    for frame, translation in (
        ("Je pense que {} a raison", "I think that {} is right"),
        ("Nous avons vu {} hier", "We saw {} yesterday"),
        ("Où est {} maintenant", "Where is {} now"),
        ("C'est la maison de {} là-bas", "That is the house of {} over there"),
        ("Demain je vais voir {} encore une fois", "Tomorrow I am going to see {} once more"),
        ("Je n'ai jamais aimé {} autant que toi", "I have never loved {} as much as you"),
    )
]
PLAIN = [
    *("The old man sat by the river and watched the boats.", "Where did you put my keys last night?"),
    *("Scientists have found water on a distant planet.", "She opened the window because the room was hot."),
    *("I do not think that this is a good idea.", "The train to London leaves at seven in the morning."),
    *("Children were playing in the garden behind the house.", "Please send me the report before Friday."),
    *("He has never been to Paris, but he speaks French.", "A small dog ran across the busy street."),
    *("The price of oil rose again this week.", "My sister wants to become a doctor."),
    *("It was raining so hard that we stayed at home.", "Nobody knew the answer to the last question."),
    *("The museum is closed on Mondays.", "They bought a new car with the money they had saved."),
    *("Can you tell me how to get to the station?", "Most birds build their nests in spring."),
    *("The company announced its results yesterday.", "We ate fish and drank wine by the sea."),
]


@dataclass(frozen=True)
class Parsed:
    """Words, and arcs (relation, dependent, head) by number of the word."""

    words: tuple[str, ...]
    arcs: tuple[tuple[str, int, int], ...]


def parsed(count: int = 240, seed: int = 0) -> list[Parsed]:
    """Sentences of varying form: the same relation spans one word here and six there."""
    rng = random.Random(seed)
    nouns = "dog teacher car house letter river student doctor garden picture king bird city machine farmer".split()
    verbs = "saw found watched liked painted followed remembered bought described visited".split()
    adjectives = "old small red quiet famous heavy strange beautiful young tall".split()
    adverbs = "slowly often quickly never suddenly finally".split()
    prepositions = "near behind under without beside".split()

    def made() -> Parsed:
        words: list[str] = []
        arcs: list[tuple[str, int, int]] = []

        def noun_phrase(depth: int) -> int:
            det = len(words)
            words.append(rng.choice(["the", "a", "this", "every"]))
            for _ in range(rng.choice([0, 1, 1, 2, 3])):
                words.append(rng.choice(adjectives))
            noun = len(words)
            words.append(rng.choice(nouns))
            arcs.append(("det", det, noun))
            if depth and rng.random() < 0.5:
                prepositional(noun)
            return noun

        def prepositional(head: int) -> None:
            case = len(words)
            words.append(rng.choice(prepositions))
            noun = noun_phrase(0)
            arcs.append(("case", case, noun))

        if rng.random() < 0.3:
            words.append(rng.choice(["yesterday", "today", "once"]))
        subject = noun_phrase(1)
        if rng.random() < 0.4:
            words.append(rng.choice(adverbs))
        verb = len(words)
        words.append(rng.choice(verbs))
        arcs.append(("nsubj", subject, verb))
        found = noun_phrase(1)
        arcs.append(("obj", found, verb))
        if rng.random() < 0.5:
            prepositional(verb)
        words.append(".")
        return Parsed(tuple(words), tuple(arcs))

    return [made() for _ in range(count)]
