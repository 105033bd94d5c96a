import pytest

# An assertion that fails in a helper says what it compared, as one in a test does.
pytest.register_assert_rewrite("tests.support")
