"""Words of which English has more than one written form, as data for the normaliser `english`.

Only forms that may be read out alike, or that transcribers choose between for the same sound, stand here:
`colour` and `color`, but not `mum` and `mom`. The right-hand sides are in no left-hand side.
"""

from collections.abc import Iterator
from functools import cache

# Sounds of hesitation. Not `ah`, `oh`, `huh` and `mhm`, which answer or exclaim; not `mm`, a unit.
FILLERS = frozenset({"er", "erm", "hm", "hmm", "mmm", "uh", "uhh", "uhm", "um", "umm"})

_NEGATED = "are could dare did do does had has have is might must need ought should was were would"  # + n't
_IS = "he here how it she that there what when where who why"  # + 's; elsewhere it may possess
SUFFIXES = {"'ll": "will", "'re": "are", "'ve": "have"}

_CONTRACTIONS = {
    "can't": "can not",
    "cannot": "can not",
    "i'm": "i am",
    "let's": "let us",
    "shan't": "shall not",
    "won't": "will not",
    # Without apostrophe where nothing else is written so: not cant, hell, ill, its, lets, well, were, wont.
    "im": "i am",
    "ive": "i have",
    "thats": "that is",
    "theyll": "they will",
    "theyre": "they are",
    "theyve": "they have",
    "weve": "we have",
    "whats": "what is",
    "youll": "you will",
    "youre": "you are",
    "youve": "you have",
    # Run together in speech.
    "gimme": "give me",
    "gonna": "going to",
    "gotta": "got to",
    "kinda": "kind of",
    "lemme": "let me",
    "outta": "out of",
    "sorta": "sort of",
    "wanna": "want to",
}

_ABBREVIATIONS = {
    "alright": "all right",
    "dr": "doctor",
    "etc": "et cetera",
    "jr": "junior",
    "mr": "mister",
    "mrs": "missus",
    "ok": "okay",
    "prof": "professor",
    "sr": "senior",
    "vs": "versus",
}

# British stem, ending after it; the American form is made by a rule.
_OUR = """
arm behavi cand clam col demean discol dishon endeav fav ferv flav harb hon hum lab misbehavi neighb od
parl ranc rig rum savi sav splend tum val vap vig
"""
_OUR_ENDINGS = "s ed ing er ers able ably ful fully less ite ites al ally hood hoods ly y ist ists"
_ISE = """
agon apolog authorit author bapt brutal capital categor central character civil colon critic crystall
custom decentral demoral digit disorgan dramat econom emphas equal familiar fantas fertil final formal
general global harmon hospital hypnot ideal immun industrial legal liberal local marginal material maxim
memor minim mobil modern monopol moral national neutral normal optim organ penal plagiar polar popular
priorit privat public random real recogn reorgan sanit scrutin social special stabil standard steril
subsid summar symbol sympath synchron terror theor tranquill urban util vandal victim visual
"""
_ISE_ENDINGS = "e es ed ing er ers able ation ations ational"
_YSE = "anal catal electrol paral"
_YSE_ENDINGS = "e ed ing er ers"  # not es: also the plural of a noun in -ysis
_RE = "calib cent centimet fib goit kilomet lit lust meag met millimet sab somb spect theat"
_DOUBLE_L = """
cancel channel counsel dial equal fuel grovel initial jewel label level libel marvel model panel pedal
quarrel rival shovel signal snorkel spiral swivel total travel tunnel unravel
"""
_DOUBLE_L_ENDINGS = "ed ing er ers or ors ous"

_SPELLINGS = """
acknowledgement acknowledgment; ageing aging; anaemia anemia; anaemic anemic; anaesthetic anesthetic;
anaesthetics anesthetics; analogue analog; archaeological archeological; archaeologist archeologist;
archaeologists archeologists; archaeology archeology; artefact artifact; artefacts artifacts; axe ax;
catalogue catalog; catalogued cataloged; catalogues catalogs; centred centered; cheque check; chequebook
checkbook; cheques checks; cosy cozy; defence defense; defences defenses; dialogue dialog; dialogues
dialogs; diarrhoea diarrhea; disc disk; discs disks; distil distill; distils distills; doughnut donut;
doughnuts donuts; draught draft; draughts drafts; draughty drafty; encyclopaedia encyclopedia; enrol
enroll; enrolment enrollment; enrols enrolls; foetal fetal; foetus fetus; fulfil fulfill; fulfilment
fulfillment; fulfils fulfills; gaol jail; grey gray; greyer grayer; greyish grayish; greys grays;
gynaecologist gynecologist; haemorrhage hemorrhage; instalment installment; instalments installments;
jewellery jewelry; judgement judgment; judgements judgments; kerb curb; kerbs curbs; leukaemia leukemia;
licence license; licences licenses; manoeuvre maneuver; manoeuvred maneuvered; manoeuvres maneuvers;
manoeuvring maneuvering; mould mold; moulded molded; moulding molding; moulds molds; mouldy moldy;
moustache mustache; moustaches mustaches; oestrogen estrogen; offence offense; offences offenses;
omelette omelet; omelettes omelets; orthopaedic orthopedic; paediatric pediatric; paediatrician
pediatrician; plough plow; ploughed plowed; ploughing plowing; ploughs plows; practise practice;
practised practiced; practises practices; practising practicing; pretence pretense; pretences pretenses;
programme program; programmes programs; pyjamas pajamas; sceptic skeptic; sceptical skeptical; scepticism
skepticism; sceptics skeptics; skilful skillful; skilfully skillfully; smoulder smolder; smouldering
smoldering; sulphur sulfur; tsar czar; tsars czars; tyre tire; tyres tires; whisky whiskey; wilful
willful; wilfully willfully; woollen woolen; yoghurt yogurt; yoghurts yogurts
"""


@cache
def contractions() -> dict[str, str]:
    """Return what is written in full, in whole words; what SUFFIXES takes off is not among it."""
    table = dict(_CONTRACTIONS)
    for verb in _NEGATED.split():
        table[f"{verb}n't"] = f"{verb} not"
        table[f"{verb}nt"] = f"{verb} not"
    table.update((f"{word}'s", f"{word} is") for word in _IS.split())
    return table


@cache
def spellings() -> dict[str, str]:
    """Return British to American spelling, and abbreviations to what is said, in lower case."""
    return {**_ABBREVIATIONS, **dict(_british())}


def _british() -> Iterator[tuple[str, str]]:
    for stem in _OUR.split():
        yield from ((f"{stem}our{ending}", f"{stem}or{ending}") for ending in ("", *_OUR_ENDINGS.split()))
    for stem in _ISE.split():
        yield from ((f"{stem}is{ending}", f"{stem}iz{ending}") for ending in _ISE_ENDINGS.split())
    for stem in _YSE.split():
        yield from ((f"{stem}ys{ending}", f"{stem}yz{ending}") for ending in _YSE_ENDINGS.split())
    for stem in _RE.split():
        yield from ((f"{stem}re{ending}", f"{stem}er{ending}") for ending in ("", "s"))
    for stem in _DOUBLE_L.split():
        yield from ((f"{stem}l{ending}", f"{stem}{ending}") for ending in _DOUBLE_L_ENDINGS.split())
    for pair in _SPELLINGS.split(";"):
        british, american = pair.split()
        yield british, american
