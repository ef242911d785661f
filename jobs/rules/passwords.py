"""Refuses passwords that are too easy to guess. Pure.

Attackers begin with lists of stolen passwords. Most of those consist of the same kinds of pieces: a
common word or a name, a year, a row of keys, a repeated sequence. A password of at most four such
pieces or single characters is refused. A list with millions of entries would find more, but guesses
are rate-limited here: after a few wrong ones the next has to wait.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator

SHORTEST = 8  # characters
TOO_FEW_PIECES = 4
SHORTEST_ROW = 3

_WORDS = """
1123581321 123abc 4815162342 access account adam admin administrator alejandro aleksandr alex
alexander alexandra alice amanda amazon america anderson andrea andrew android angel angela animal
anna anthony apollo apple april arsenal arthur asdf ashley august austin australia autumn awesome
azerty babygirl backup badboy bailey banana barcelona barney baseball basketball batman beautiful
benjamin bestfriend bigdaddy blabla blahblah blessed blessing blink182 blue bond007 boomer boston
brandon brasil brittany brooklyn bubbles buster butterfly california cameron canada captain carlos
carolina caroline catherine champion change changeit changeme charlie charlotte cheese chelsea
chester cheyenne chicken chocolate chris christian christina christine christopher cisco claude
cocacola coffee company computer connect contrasena cookie corvette courtney cowboys creative
cristina crystal customer dallas daniel darkness database david debian december default demo deploy
destiny deutschland devops diablo diamond docker dolphin donald dragon eagle edward elephant
elizabeth emily emmanuel engineer england enter espana estrella eternity extreme facebook falcon
family fender fernando ferrari fire florida flower football forever france francesco freedom friend
friends fuck fuckyou gabriel gandalf garfield george germany getmoney giants ginger giovanni github
gitlab godisgood goodluck google grandma greenday guest guitar hacker hallo hammer hannah happiness
happy hardcore harley hassle heather heaven hello hellokitty helloworld hockey home hotdog hottie
house hunter icecream iceman ihateyou iloveyou india info internet ireland ironman isabella italia
jackson jaguar james january jasmine jason jenkins jennifer jessica jesus jordan joseph joshua july
june junior justin juventus keystone killer kimberly king kitten kitty kristina kubernetes ladybug
lakers leonardo letmein liberty linkedin linux liverpool login loginme lollipop london love lovely
loveme lovers loveyou lucky machine madison madrid maggie magic manager manchester marina market
marlboro marseille martin master matrix matthew maverick melissa mercedes merlin metallica mexico
michael michelle mickey midnight million minecraft monday money monkey monster morgan motdepasse
mother mustang mylove mypass myspace naruto natalie nathan network newpass newyork nicholas nicole
ninja nintendo nirvana nothing november october office oracle orange pakistan panther paradise
parola pass passme passw passwd password passwort patricia patrick peaches peanut pepper peter
phoenix playboy pokemon poohbear pookie popcorn porsche portugal postgres precious princesa princess
private prod production purple qazwsx quest qwerty qwertz raiders rainbow random ranger raspberry
realmadrid rebecca redis redsox remember richard robert rocket rockstar ronaldo root rose runner
russia samantha samsung samuel sandra santiago saturday scarface schatz scooby scooter scorpion
sebastian secret secure security senha september server service shadow shalom shannon shopping
silver simple simpsons skywalker slayer slipknot smokey snickers snoopy snowball soccer softball
sommer sophie spider spiderman spongebob spring staging starwars steelers stella stephanie steven
strawberry strong student summer sunday sunflower sunshine super superman superstar superuser
support sweetheart swordfish sysadmin system taylor team teddybear temp teresa test testing thank
thomas thunder thursday tiffany tiger tigger tinker toor trustno trustno1 tuesday turtle twilight
ubuntu user username valentina vampire vanessa veronica victoria viking virginia vladimir volleyball
wachtwoord webmaster wednesday welcome welkom whatever william willkommen winner winter wizard work
xbox yamaha yankees yellow zombie
"""
WORDS = frozenset(_WORDS.split())
# Neighbouring keys, alphabets, and interleavings of two rows that people use.
ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789012",
    "qwertyuiop[]",
    "qwertzuiopü",
    "azertyuiop",
    "asdfghjkl;'",
    "qsdfghjklm",
    "zxcvbnm,./",
    "yxcvbnm",
    "!@#$%^&*()_+",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "qazwsxedcrfvtgbyhnujmikolp",
    "zaq12wsxcde34rfvbgt56yhnmju78ik",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "a1b2c3d4e5f6g7h8i9j0",
    "1a2b3c4d5e6f7g8h9i0j",
    "00112233445566778899",
    "12qwaszx34erdfcv",
    "1029384756",
    "135792468",
    "147258369",
    "147896325",
    "123698745",
)
_BOTH_WAYS = "\n".join(f"{row}\n{row[::-1]}" for row in ROWS)
_REPEATED = re.compile(r"(.{1,4}?)\1+", re.DOTALL)
_YEAR = re.compile(r"(1[89]|20)\d\d")
# Signs that people write instead of letters.
_ALIKE = tuple(
    str.maketrans("0134578@$!", letters) for letters in ("oieastbasi", "oleastbasl", "oleastbasi")
)


def weakness(password: str, names: Collection[str] = ()) -> str:
    """Say why a password is too weak; return "" if it is not.

    Args:
        names: the user's own names, which an attacker would try first.
    """
    if len(password) < SHORTEST:
        return f"use at least {SHORTEST} characters"
    if _pieces(password, {*WORDS, *(name.lower() for name in names)}) <= TOO_FEW_PIECES:
        return (
            "is too easy to guess: it is made of common words, names, years or rows of keys; use "
            "several words that do not belong together, or let a password manager make one"
        )
    return ""


def _pieces(password: str, words: Collection[str]) -> int:
    """Count the fewest pieces that a password can be composed of."""
    text = unicodedata.normalize("NFKC", password).lower()
    readings = [text, *(text.translate(table) for table in _ALIKE)]
    longest = max(map(len, words))
    fewest = list(range(len(text) + 1))
    for start in range(len(text)):
        ends = {start + 1, *_ends(text, start)}
        ends |= {
            end
            for reading in readings
            for end in range(start + SHORTEST_ROW, min(start + longest, len(text)) + 1)
            if reading[start:end] in words
        }
        for end in ends:
            fewest[end] = min(fewest[end], fewest[start] + 1)
    return fewest[-1]


def _ends(text: str, start: int) -> Iterator[int]:
    """Give the ends of the pieces that begin at `start`, except words."""
    for pattern in (_REPEATED, _YEAR):
        if found := pattern.match(text, start):
            yield found.end()
    end = start + SHORTEST_ROW
    while end <= len(text) and text[start:end] in _BOTH_WAYS:
        yield end
        end += 1
