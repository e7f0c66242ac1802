"""Stephens' strain terms: those of his table, and widths that equivalent reflections share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from simulators.crystal import operations_from_hall
from simulators.stephens import MONOMIALS, AnisotropicStrain, independent_terms, monomials

#: A Hall number of each Laue class and orientation, and the terms of table 1 of Stephens (1999).
TABLE = {
    1: "400 040 004 220 202 022 310 301 130 103 031 013 211 121 112",  # -1
    3: "400 040 004 220 202 022 301 103 121",  # 2/m, b unique
    4: "400 040 004 220 202 022 310 130 112",  # 2/m, c unique
    108: "400 040 004 220 202 022",  # mmm
    349: "400 004 220 202 310",  # 4/m
    400: "400 004 220 202",  # 4/mmm
    435: "400 004 202 301 211",  # -3
    436: "400 004 202 301 211",  # -3, rhombohedral lattice
    456: "400 004 202 301",  # -3m1
    454: "400 004 202 211",  # -31m
    462: "400 004 202",  # 6/m
    485: "400 004 202",  # 6/mmm
    494: "400 220",  # m-3
    517: "400 220",  # m-3m
}
CELLS = {
    "triclinic": (5.1, 6.3, 7.2, 84.0, 97.0, 105.0),
    "cubic": (5.0, 5.0, 5.0, 90.0, 90.0, 90.0),
}


@pytest.mark.parametrize("hall", TABLE)
def test_independent_terms_are_those_of_the_table(hall):
    names = ["".join(map(str, powers)) for powers in independent_terms(operations_from_hall(hall))]
    assert names == TABLE[hall].split()


@settings(max_examples=60, deadline=None)
@given(
    hall=st.one_of(st.sampled_from(sorted(TABLE)), st.integers(1, 530)),
    seed=st.integers(0, 10_000),
)
def test_equivalent_reflections_have_one_width(hall, seed):
    operations = operations_from_hall(hall)
    rng = np.random.default_rng(seed)
    strain = AnisotropicStrain(tuple((p, float(rng.normal())) for p in independent_terms(operations)))
    coefficients = strain.coefficients(operations)
    hkl = rng.integers(-6, 7, size=(20, 3))
    values = monomials(hkl) @ coefficients
    for rotation in operations.rotations:
        assert np.allclose(monomials(hkl @ rotation) @ coefficients, values, atol=1e-7 * 6**4)


@settings(max_examples=40, deadline=None)
@given(hall=st.sampled_from(sorted(TABLE)), seed=st.integers(0, 10_000))
def test_any_invariant_quartic_is_told_by_its_independent_terms(hall, seed):
    """Mean over the group of (h.A.h)^2: positive, invariant, and made here without the module's algebra."""
    operations = operations_from_hall(hall)
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(3, 3))
    a = a @ a.T

    def variance(hkl):
        turned = np.einsum("ki,nij->nkj", hkl.astype(float), operations.rotations)
        return (np.einsum("nki,ij,nkj->nk", turned, a, turned) ** 2).mean(axis=0)

    sample = rng.integers(-5, 6, size=(60, 3))
    coefficients = np.linalg.lstsq(monomials(sample), variance(sample), rcond=None)[0]
    free = independent_terms(operations)
    strain = AnisotropicStrain(tuple((p, float(coefficients[MONOMIALS.index(p)])) for p in free))
    assert np.allclose(strain.coefficients(operations), coefficients, atol=1e-6 * np.abs(coefficients).max())


def test_isotropic_strain_is_a_special_case():
    """S ~ (metric)^2: the width of 1/d^2 over 1/d^2 is then the same for all reflections."""
    cubic = operations_from_hall(517)
    strain = AnisotropicStrain((((4, 0, 0), 4e-10), ((2, 2, 0), 8e-10)))
    spread = strain.spread(CELLS["cubic"], cubic, np.array([[1, 0, 0], [1, 1, 0], [3, 2, 1], [2, 2, 2]]))
    assert np.allclose(spread, np.sqrt(4e-10) * 25.0)


def test_wrong_terms_are_one_sentence():
    cubic = operations_from_hall(517)
    with pytest.raises(BadInput, match=r"S202 is not free.*S400, S220"):
        AnisotropicStrain((((2, 0, 2), 1.0),)).coefficients(cubic)
    with pytest.raises(BadInput, match="powers that sum to 4"):
        AnisotropicStrain((((2, 0, 1), 1.0),))
    with pytest.raises(BadInput, match="negative variance"):
        AnisotropicStrain((((4, 0, 0), -1.0),)).spread(CELLS["cubic"], cubic, np.array([[1, 0, 0]]))
    with pytest.raises(BadInput, match="Gaussian share"):
        AnisotropicStrain((), 1.5)
