"""Whether texts separate words: where they do not, characters are what errors are counted in."""

import re
from collections.abc import Iterable

_HAN_OR_KANA = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


def unspaced(texts: Iterable[str]) -> bool:
    """Tell whether texts are in Han or kana and never separate words."""
    joined = "".join(texts)
    return not any(map(str.isspace, joined)) and _HAN_OR_KANA.search(joined) is not None
