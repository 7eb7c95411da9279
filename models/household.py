"""The household language: spoken commands for lights, music, timers, calls and appliances.

Digits said at random give a language model nothing to say. Here a small grammar does: after
"dim the kitchen lights to" comes a number and then "percent", never "present". A *template* is a
sentence with slots in braces, a slot is a list of phrases; every sentence of the grammar is a template with
its slots filled. Templates are drawn with weights, because people say some things more often.

One sentence in ten is *held out* of training, chosen by a hash of its text, so that a phrase called
unseen was never heard by a network as a whole. ``household.txt.gz`` is what a cloud would have read: sentences of
all of the grammar.

Size: 144 words, the ten digits first; 941 sentences and 10,000 numbers to call (a test checks all three).
"""

import hashlib
import itertools
import re
from collections.abc import Iterator

import numpy as np

from models.rnnt import WORDS as DIGITS

SLOTS: dict[str, tuple[str, ...]] = {
    "room": ("kitchen", "bedroom", "bathroom", "hall", "garden", "garage", "office"),
    "light": ("lights", "lamp"),
    "on": ("on", "off"),
    "verb": ("turn", "switch"),
    "color": ("red", "blue", "green", "white", "yellow"),
    "percent": ("ten", "twenty", "thirty", "forty", "fifty", "sixty"),
    "genre": ("jazz", "rock", "piano", "classical", "dance", "country"),
    "track": ("song", "station", "album"),
    "sound": ("music", "radio", "television", "volume"),
    "up": ("up", "down"),
    "count": (*DIGITS[1:], "ten", "twelve", "fifteen", "twenty", "thirty", "forty five"),
    "unit": ("minutes", "seconds", "hours"),
    "hour": ("five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    "past": ("", "fifteen", "thirty", "forty five"),
    "when": ("in the morning", "in the evening", "tomorrow", "tonight"),
    "name": ("anna", "peter", "maria", "david", "sophie", "oliver", "grandma", "lucy"),
    "where": ("", "at home", "at work"),
    "machine": ("oven", "washer", "dryer", "dishwasher", "heater", "fan", "vacuum", "coffee machine"),
    "warm": ("oven", "heater"),
    "opening": ("window", "curtains", "front door", "back door", "garage door"),
    "open": ("open", "close"),
    "food": ("milk", "bread", "eggs", "butter", "coffee", "sugar", "rice", "apples"),
    "day": ("today", "tomorrow", "tonight"),
    "bell": ("timer", "alarm"),
}
TEMPLATES: dict[str, float] = {
    "{verb} {on} the {room} {light}": 4,
    "{verb} the {room} {light} {on}": 3,
    "dim the {room} lights to {percent} percent": 3,
    "set the {room} lights to {color}": 2,
    "play some {genre} music": 2,
    "play {genre} in the {room}": 2,
    "play the next {track}": 1,
    "skip this {track}": 1,
    "turn {up} the {sound}": 2,
    "turn the {sound} {up} a little": 1,
    "stop the {sound}": 1,
    "pause the {sound}": 1,
    "set a timer for {count} {unit}": 5,
    "set the oven timer for {count} minutes": 2,
    "set an alarm for {hour} {past} {when}": 3,
    "wake me at {hour} {past} {when}": 2,
    "cancel the {bell}": 1,
    "how much time is left on the {bell}": 1,
    "call {name} {where}": 4,
    "send a message to {name}": 2,
    "answer the phone": 1,
    "call {digit} {digit} {digit} {digit}": 2,
    "{verb} {on} the {machine}": 3,
    "start the {machine} in {count} minutes": 2,
    "set the {warm} to {percent} degrees": 2,
    "is the {machine} {on}": 1,
    "{open} the {opening}": 2,
    "lock the front door": 1,
    "is the front door locked": 1,
    "what is the weather {day}": 2,
    "will it rain {day}": 1,
    "add {food} to the shopping list": 3,
    "add {food} and {food} to the shopping list": 2,
    "good morning": 0.5,
    "good night": 0.5,
    "remind me to call {name} {when}": 2,
    "what is two and {count}": 0.5,
    "please stop": 0.5,
    "help me": 0.5,
}
SLOTS["digit"] = DIGITS
HELD_OUT_ONE_IN = 10


def sentences(template: str) -> Iterator[str]:
    """Every way to fill a template."""
    pieces = re.split(r"\{(\w+)\}", template)
    choices = [(piece,) if n % 2 == 0 else SLOTS[piece] for n, piece in enumerate(pieces)]
    for chosen in itertools.product(*choices):
        yield " ".join("".join(chosen).split())


def _vocabulary() -> tuple[str, ...]:
    fixed = itertools.chain(*(re.sub(r"\{\w+\}", " ", template).split() for template in TEMPLATES))
    filled = itertools.chain(*(phrase.split() for slot in SLOTS.values() for phrase in slot))
    return (*DIGITS, *sorted({*fixed, *filled} - set(DIGITS)))


WORDS = _vocabulary()
VOCABULARY = (*WORDS, "<blank>")
BLANK = len(WORDS)


def is_held_out(sentence: str) -> bool:
    """True for the one sentence in ten that training never meets."""
    return int(hashlib.sha256(sentence.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0


def draw(rng: np.random.Generator, held_out: bool | None) -> str:
    """A sentence of one part of the split (None: of either): a template by its weight, then each slot evenly."""
    templates, weights = list(TEMPLATES), np.array(list(TEMPLATES.values()))
    while True:
        pieces = re.split(r"\{(\w+)\}", templates[rng.choice(len(templates), p=weights / weights.sum())])
        chosen = [piece if n % 2 == 0 else str(rng.choice(SLOTS[piece])) for n, piece in enumerate(pieces)]
        sentence = " ".join("".join(chosen).split())
        if held_out is None or is_held_out(sentence) == held_out:
            return sentence


def word_indices(text: str) -> tuple[int, ...]:
    """Indices of the words of a text in the vocabulary."""
    return tuple(WORDS.index(word) for word in text.split())
