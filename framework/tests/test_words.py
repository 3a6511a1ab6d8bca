"""Numbers in sentences."""

import doctest

from xtal import words


def test_numbers_agree_with_their_nouns() -> None:
    result = doctest.testmod(words)
    assert result.attempted == 1 and result.failed == 0
