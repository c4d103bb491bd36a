"""What people see: each warning on one line, and once."""

from render.console import warning_printer


def test_a_warning_is_printed_once_a_command(capsys):
    """Python forgets what it has shown when somebody changes its filters; the next command says it again."""
    for _ in range(2):
        show = warning_printer()
        for text in ("a is missing", "b is missing", "a is missing"):
            show(UserWarning(text), UserWarning, "file.py", 1)
    assert capsys.readouterr().err == 2 * "render: warning: a is missing\nrender: warning: b is missing\n"
