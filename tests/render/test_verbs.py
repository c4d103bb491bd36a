"""The table of verbs: every string in it leads somewhere."""

import pytest

from render.verbs import COMMANDS, command


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_is_where_the_table_says_and_takes_a_list_of_arguments(verb, capfd):
    """`render VERB --help` is the least that each can do."""
    try:
        assert command(verb)(["--help"]) == 0
    except SystemExit as left:
        assert left.code == 0
    assert f"render {verb}" in capfd.readouterr().out
