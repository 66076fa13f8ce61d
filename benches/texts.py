"""Ordinary English, varied and always the same: what a firewall reads all day.

Sentences are put together from halves and words of several fields of work, so that no text repeats itself for long and
hardly two are alike. There is nothing in them to be found.
"""

import json
import random
from collections.abc import Iterator

SEED = 20_240_607
ROLES = ("user", "assistant", "user", "tool", "assistant")


def _listed(words: str) -> list[str]:
    return [" ".join(entry.split()) for entry in words.split(";")]


THINGS = _listed(
    """
    invoice; garden fence; train connection; quarterly report; bread dough; database index; sales
    contract; heat pump; kitchen sink; history essay; bicycle chain; holiday plan; unit test;
    shopping list; chemistry lesson; piano piece; water bill; travel budget; login page; tax return;
    spreadsheet; photo album; recipe; bus timetable; swimming course; warehouse; birthday card;
    mortgage offer; weather station; board game; church choir; language course; parking permit;
    delivery note; backup job; customer survey; house plant; job advert; wedding speech; museum
    tour; coffee machine; window frame; network cable; novel; insurance claim; road map; vegetable
    bed; solar panel; cover letter; meeting room; poem; running shoe; sewing pattern; lease
    """
)
ACTIONS = _listed(
    """
    compare; describe; summarise; improve; check; plan; explain; translate; shorten; sort; rename;
    measure; calculate; draft; review; estimate; schedule; repair; order; convert; proofread;
    illustrate; outline; test; refactor; document; present; label
    """
)
QUALITIES = _listed(
    """
    cheaper; older; quieter; longer; reliable; colourful; unusual; practical; heavy; modern; second;
    final; public; narrow; seasonal; local; simple; spare; annual; wooden; digital; famous; empty;
    gentle; northern; rough; bright; careful; familiar; expensive
    """
)
PEOPLE = _listed(
    """
    my sister; our accountant; the landlord; a colleague; the head teacher; our neighbours; the
    customer; my grandfather; the whole team; a friend from Lisbon; the new apprentice; the
    librarian; her dentist; two students; the project lead; Priya; Mr Okafor; Dana; the night shift;
    a supplier in Graz; the town council; Tomasz; our youngest; the orchestra; the goalkeeper
    """
)
TIMES = _listed(
    """
    before Friday; last autumn; in the evening; next to nothing else; at half past nine; twice a
    week; since March; over the holidays; in about an hour; at the end of the quarter; on rainy
    days; for three years; after lunch; by the way; early in spring; within two days; on the second
    attempt; most of the time; during the trip; every other month
    """
)
REASONS = _listed(
    """
    because the old one broke; so that nobody has to wait; although it costs a little more; which
    surprised everybody; and it still rained; but the colours did not match; since we moved house;
    if the weather holds; unless the price goes up; while the oven warms up; as the manual suggests;
    until somebody finds the missing page; and then we went home; even though the numbers looked
    fine; because the bus was late; so the children can help; whenever there is time
    """
)
OPENINGS = _listed(
    """
    Could you; Please; I would like to; Can somebody help me to; What is the best way to; We have
    to; How do people; Is it possible to; Let us; It might be worth it to; Who would know how to;
    There is no hurry, but I want to
    """
)
STATEMENTS = """The {q} {t} that {p} bought {w} needs a {q2} {t2}, {r}.
{P} asked about the {t} {w}, {r}.
In {n} of {m} cases the {t} was ready {w}; the rest took {m} minutes longer.
A {q} {t} weighs about {n} kilograms, the {q2} one {m}.
If {p} can {a} the {t} {w}, we will {a2} the {t2} together.
{P} said: "The {t} looks {q}, {r}."
There are {n} reasons to {a} a {t}, and the {q} one is the {t2}.
Between the {t} and the {t2} there is hardly any difference, {r}.
The price went from {n}.{m} to {m} euros {w}, {r}.
(See the {t}, page {n}, where the {t2} is shown {w}.)
First {a} the {t}; then {a2} the {q} {t2}; after that it is up to {p}.
{P} keeps the {t} next to the {t2}, {r}.
"""


def _words(chance: random.Random) -> dict[str, object]:
    pick = chance.choice
    people = pick(PEOPLE)
    return {
        "t": pick(THINGS),
        "t2": pick(THINGS),
        "q": pick(QUALITIES),
        "q2": pick(QUALITIES),
        "p": people,
        "P": people[0].upper() + people[1:],
        "a": pick(ACTIONS),
        "a2": pick(ACTIONS),
        "w": pick(TIMES),
        "r": pick(REASONS),
        "o": pick(OPENINGS),
        "n": chance.randint(2, 9),
        "m": chance.randint(11, 89),
    }


def sentence(chance: random.Random) -> str:
    """One sentence: one in three is a request."""
    form = "{o} {a} the {q} {t} {w}, {r}?" if chance.random() < 0.3 else chance.choice(STATEMENTS.splitlines())
    return form.format(**_words(chance))


def fact(chance: random.Random) -> str:
    """One sentence that asks for nothing: what a tool returns, and an order in it would be an attack."""
    facts = [form for form in STATEMENTS.splitlines() if not form.startswith("First")]
    return chance.choice(facts).format(**_words(chance))


def text(chance: random.Random, size: int) -> str:
    """Sentences and paragraphs of `size` characters."""
    written = sentence(chance)
    while len(written) < size:
        written += ("\n\n" if chance.random() < 0.1 else " ") + sentence(chance)
    return written[:size]


def texts(size: int, count: int = 32) -> list[str]:
    """Different texts of one size."""
    chance = random.Random(SEED + size)
    return [text(chance, size) for _ in range(count)]


def conversation(size: int) -> list[dict[str, str]]:
    """Messages of different roles and lengths, with lists, code and what tools return; `size` characters together."""
    chance = random.Random(SEED)
    messages = [{"role": "system", "content": "You help the staff of a small office. Be brief and polite."}]
    left = size - len(messages[0]["content"])
    for content, role in _turns(chance):
        messages.append({"role": role, "content": content[:left]})
        left -= len(messages[-1]["content"])
        if not left:
            return messages
    raise AssertionError("turns never end")


def _turns(chance: random.Random) -> Iterator[tuple[str, str]]:
    while True:
        for role in ROLES:
            if role == "tool":
                yield _rows(chance), role
            elif role == "assistant":
                yield chance.choice([_points, _code, _prose])(chance), role
            else:
                yield text(chance, chance.randint(40, 900)), role


def _prose(chance: random.Random) -> str:
    return text(chance, chance.randint(300, 2_500))


def _points(chance: random.Random) -> str:
    points = "\n".join(f"- **{_words(chance)['t']}**: {sentence(chance)}" for _ in range(chance.randint(3, 9)))
    return f"{sentence(chance)}\n\n{points}\n\n{sentence(chance)}"


def _code(chance: random.Random) -> str:
    names = [str(_words(chance)["t"]).replace(" ", "_") for _ in range(4)]
    lines = [f"def {names[0]}({names[1]}, {names[2]}=None):", f'    """{sentence(chance)}"""']
    lines += [f"    {name} = [row for row in {names[1]} if row.{name} > {chance.randint(1, 99)}]" for name in names[2:]]
    return f"{sentence(chance)}\n\n```python\n" + "\n".join([*lines, f"    return {names[3]}"]) + "\n```"


def _rows(chance: random.Random) -> str:
    rows = [
        {"item": words["t"], "state": words["q"], "count": words["n"], "note": fact(chance)}
        for words in (_words(chance) for _ in range(chance.randint(4, 16)))
    ]
    return json.dumps({"rows": rows, "next": None})
