"""The forms of weights as parameters of tests: each asks for its own kernels, and for no other form's."""

from __future__ import annotations

import pytest

from minitransformer.optimize import TOLERANCES, forms_here

HERE = forms_here()


def needs(form: str) -> pytest.MarkDecorator:
    """Skips where this processor has no such form."""
    return pytest.mark.skipif(form not in HERE, reason=f"this processor has no kernels for {form}")


FORMS = [pytest.param(form, marks=needs(form)) for form in TOLERANCES]
