"""Sentences like those of CMU AN4: spelled names, numbers, dates, addresses and short orders.

Lower case a-z, apostrophe and space only; numbers in words, a spelled letter is a word of one letter.
"""

# ruff: noqa: SIM905 - long lists of words read better as text

import string
import zlib
from collections.abc import Callable, Iterator
from random import Random

DIGITS = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
MONTHS = "january february march april may june july august september october november december".split()
ORDERS = "go yes no stop repeat start help erase".split()
STREETS = "street avenue road lane".split()
NAMES = (
    "aaron abigail adam alan albert alice allen amanda amy andrea andrew angela anna anthony arthur "
    "ashley barbara benjamin betty beverly brandon brian bruce bryan carl carol catherine charles cheryl "
    "christine craig cynthia daniel deborah denise dennis diana donald dorothy douglas dylan edward "
    "elizabeth emily ernest ethan eugene evelyn felix florence frances frank fred gabriel gary george "
    "gerald gloria grace gregory hannah harold harvey heather helen henry howard hugh irene isaac jack "
    "jacob james janet jason jeffrey jennifer jeremy jessica joan joel john jonathan joseph joyce juan "
    "judith julia justin karen keith kelly kenneth kevin kyle larry laura lawrence leonard linda lisa "
    "logan louis lucy madison margaret maria martin matthew megan melissa michael nancy nathan nicholas "
    "nicole noah norman oliver olivia oscar pamela patrick paul peter philip quentin rachel ralph randy "
    "raymond rebecca robert roger ronald rose roy russell ruth samuel sandra sara scott sean sharon "
    "shirley simon sophia susan sylvia teresa thomas tiffany timothy travis tyler vanessa victor vincent "
    "virginia walter wanda wayne wendy william xavier yolanda yvonne zachary zoe"
).split()
SURNAMES = (
    "adams alvarez baker barnes bennett bishop boyd brooks burke byrne campbell carter chapman cohen cooper "
    "crawford cruz dawson dixon duffy dunn edwards ellis evans farrell ferguson fisher fitzgerald fletcher "
    "foster fox garcia gibson gomez graham grant griffin hall hamilton hansen hayes henderson hicks hoffman "
    "holmes hughes hunt hunter jacobs jenkins johnson jordan kaplan keller kim klein knight kowalski lambert "
    "larson lewis lopez lynch marshall mason maxwell mcdonald mendoza meyer mitchell moore morgan murphy "
    "murray myers nelson newman nguyen novak o'brien o'connor o'neill olson ortiz owens palmer parker "
    "patterson perez peterson phillips pierce porter powell price quinn ramirez reed reynolds rice richards "
    "rivera rogers romano ross ryan sanchez schmidt schultz shaw simpson smith snyder spencer stewart stone "
    "sullivan taylor thompson torres tucker turner vargas vaughn wagner walker wallace walsh warren watson "
    "webb weber weiss wheeler white wilson wolf wood wright yates young zimmerman"
).split()
PLACES = (
    "akron albany arlington austin baltimore boston bridgeport brighton buffalo butler charleston chelsea "
    "chestnut cleveland columbus dallas dayton denver detroit elm erie fairview fifth forbes franklin "
    "georgetown greenfield hampton harrisburg hickory highland hudson jackson jefferson kingston lancaster "
    "lexington liberty lincoln madison maple memphis monroe newport norfolk oak oakland oxford penn "
    "phoenix pine plymouth portland princeton quincy raleigh richmond rochester salem seattle spruce "
    "springfield squirrel stanton sycamore toledo trenton troy union vine walnut washington weston wheeling "
    "wilkinsburg willow windsor york"
).split()
Maker = Callable[[Random], str]


def two_digit(n: int) -> str:
    """Say 10..99."""
    if n < 20:
        return TEENS[n - 10]
    tens, unit = divmod(n, 10)
    return f"{TENS[tens - 2]} {DIGITS[unit]}" if unit else TENS[tens - 2]


def digits(rng: Random, count: int) -> str:
    # Readers say zero as "oh" about as often as "zero".
    zero = rng.choice(["zero", "oh"])
    return " ".join(DIGITS[d] if d else zero for d in (rng.randrange(10) for _ in range(count)))


def number(rng: Random) -> str:
    size = rng.random()
    if size < 0.2:
        return rng.choice(DIGITS[1:])
    if size < 0.75:
        return two_digit(rng.randrange(10, 100))
    if size < 0.9:
        return f"{two_digit(rng.randrange(10, 100))} {two_digit(rng.randrange(10, 100))}"
    scale = rng.choice(["hundred", "thousand"])
    rest = rng.choice(["", "", " and " + two_digit(rng.randrange(10, 100))])
    return f"{rng.choice(DIGITS[1:])} {scale}{rest}"


def spelled(word: str) -> str:
    return " ".join("apostrophe" if c == "'" else c for c in word)


def letters(rng: Random, low: int, high: int) -> str:
    return " ".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(low, high)))


def name(rng: Random) -> str:
    return spelled(rng.choice(rng.choice([NAMES, SURNAMES, SURNAMES])))


def code(rng: Random) -> str:
    order = rng.choice(["rubout ", "", ""])
    return f"{order}{letters(rng, 3, 5)} {rng.choice([number(rng), digits(rng, 2)])}"


def order_number(rng: Random) -> str:
    return f"enter {rng.choice([number(rng), number(rng), digits(rng, rng.randint(2, 5))])}"


def date(rng: Random) -> str:
    day = rng.randint(1, 31)
    if day <= 20:
        said = ORDINALS[day - 1]
    else:
        said = "thirtieth" if day == 30 else f"{TENS[day // 10 - 2]} {ORDINALS[day % 10 - 1]}"
    year = f" nineteen {two_digit(rng.randrange(10, 100))}" if rng.random() < 0.7 else ""
    month = rng.choice(MONTHS)
    return f"{said} of {month}{year}" if rng.random() < 0.15 else f"{month} {said}{year}"


def address(rng: Random) -> str:
    house = rng.choice([number(rng), digits(rng, rng.randint(3, 4))])
    street = rng.choice([spelled(rng.choice(PLACES)), rng.choice(ORDINALS)])
    return f"{house} {street} {rng.choice(STREETS)}" if rng.random() < 0.6 else spelled(rng.choice(PLACES))


def phone(rng: Random) -> str:
    return f"area code {digits(rng, 3)}" if rng.random() < 0.2 else digits(rng, rng.choice([5, 5, 7, 7]))


MAKERS: list[tuple[Maker, int]] = [
    (lambda rng: rng.choice(ORDERS), 9),
    (name, 26),
    (code, 16),
    (order_number, 12),
    (date, 10),
    (address, 11),
    (phone, 12),
    (lambda rng: letters(rng, 3, 7), 8),
]
# Shares of the text space, in tenths: a sentence belongs to one part only, whatever the seed.
SHARES = {"teacher": range(0, 6), "distill": range(6, 8), "test": range(8, 10)}


def sentences(part: str, rng: Random) -> Iterator[str]:
    """Endless sentences of a part; only the one-word orders, a closed class, are shared between parts."""
    makers, weights = zip(*MAKERS, strict=True)
    while True:
        text = rng.choices(makers, weights)[0](rng)
        if text in ORDERS or zlib.crc32(text.encode()) % 10 in SHARES[part]:
            yield text
