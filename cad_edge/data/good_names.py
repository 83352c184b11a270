"""Names by which people call a folder of good parts, in the languages of production lines.

A folder of good parts that is called otherwise than ``good`` would be a kind of defect, and every
figure that is measured with it would be wrong. So a name is compared by what it says: fillers,
numbers, plurals and the way of writing aside, and never where it says not (``not_ok``, ``NOK``).
"""

import re
import unicodedata

GOOD = "good"

_WORDS = (
    "good goods ok oks okay okey okays normal nominal ordinary usual pass passed passes passing "
    "healthy intact perfect immaculate pristine proper correct accept accepted acceptable approved "
    "qualified conform conforms conforming conformant conformed conformity compliant golden gold "
    "reference ref clean regular standard baseline sane safe "
    "gut gute guter gutes io inordnung einwandfrei heil tadellos "
    "bon bonne bons bonnes bien conforme conformes correcte correctes sain normale normales "
    "normaux bueno buena buenos buenas correcto correcta aceptado sano sana buono buona buoni "
    "buone corretto conformi normali integro sani bom boa bons boas normais goed goede bra "
    "dobry dobre dobra хорошо хороший хорошие норма нормальный годен годные исправный "
    "良品 正常 合格 合格品 良好 良 好 好品 正品 正常品 完好 無欠陥 无缺陷 無異常 양품 정상 합격"
)
_WORDS_OF_GOOD = frozenset(_WORDS.split())
_LIKELY = frozenset({"normals", "0", "class0", "label0", "negative", "negatives", "neg", "fine"})
"""Kinds of defect as well: a surface's normals, fine cracks. Good parts where no others are."""

_FLAW = (
    "(defe[ck]t|damag|anomal|fault|flaw|error|problem|issue|abnormal|reject|fail|bad|broke|crack|"
    "scratch|blemish|impair|contamina|deviat|ng|nok|fehler|mangel|mängel|schad|schäd|beschädig|"
    "auffällig|difett|défaut|défect|defaut|defeito|wad)"
)
_ENDING = (
    "(n|en|e|es|s|ed|y|ies|ive|ives|ous|al|ation|t|ted|ion|ions|o|os|i|ty|ure|ures|iert|te|tiert)?"
)
_NONE = "(un|non|no|not|never|without|zero|free(of|from)|ohne|kein|keine|sans|sin|senza|sem|bez)"
_FLAWLESS = re.compile(rf"{_NONE}(a|an|any)?{_FLAW}{_ENDING}|{_FLAW}{_ENDING}(free|less|frei|los)")

_ROLES = "train|training|test|tests|testing|validation|valid|val|eval|set|data"
_THINGS = (
    "parts?|images?|imgs?|samples?|pictures?|photos?|products?|pieces?|items?|units?|objects?|"
    "class|label|status|cases?|examples?|folder|teile?|bilder|pezzi|piezas|pièces|master|only|all|"
    "new|old|more|extra|batch|lot|run|day|cam|camera|series|shift|session|front|back|left|right"
)
_FILLERS = re.compile(rf"^({_ROLES}|{_THINGS}|\d)+|({_ROLES}|{_THINGS}|品|\d)+$")


def means_good(name: str, alone: bool = False) -> bool:
    """Whether a folder's name says that its parts are good, and is not the word that is read.

    Parameters
    ----------
    name
        Of the folder.
    alone
        Whether no folder beside it is called ``good``, so that names that mean a kind of defect
        elsewhere, such as ``0`` and ``normals``, are taken for good parts.

    Examples
    --------
    >>> means_good("OK parts 2"), means_good("no-defect"), means_good("NOK"), means_good("good")
    (True, True, False, False)
    """
    if name == GOOD:
        return False
    tokens = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name).casefold())
    words = {"".join(tokens)}
    while len(tokens) > 1 and len(tokens[-1]) == 1 and tokens[-1].isascii():
        tokens.pop()  # `good_a`, a batch of them
        words.add("".join(tokens))
    return any(_says_good(word) or (alone and _is_likely(word)) for word in words)


def _says_good(word: str) -> bool:
    shorter = {word, _FILLERS.sub("", word)}
    shorter |= {_FILLERS.sub("", one) for one in shorter}
    return any(one in _WORDS_OF_GOOD or _FLAWLESS.fullmatch(one) for one in shorter)


def _is_likely(word: str) -> bool:
    return word in _LIKELY or _FILLERS.sub("", word) in _LIKELY
