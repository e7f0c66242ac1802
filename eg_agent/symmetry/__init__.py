"""The 99 extinction groups: reflection conditions, settings, 37-bit codes and the subgroup graph.

Everything is derived from gemmi's symmetry operators; see `derive` for how, and tables.json for the
part that is kept as a generated file.
"""

from eg_agent.symmetry.codes import CONDITION_BITS, PUBLISHED_BITS, condition_codes, published_codes
from eg_agent.symmetry.extinction_group import (
    N_GROUPS,
    ExtinctionGroup,
    group,
    group_of_space_group,
    groups,
    space_group_symbols,
)
from eg_agent.symmetry.graph import (
    Relation,
    ancestors,
    branch,
    children,
    descendants,
    distance_matrix,
    edges,
    parents,
    relation,
)
from eg_agent.symmetry.reflections import Reflections, unique_reflections
from eg_agent.symmetry.setting import (
    BRAVAIS_LATTICES,
    Setting,
    absence_free,
    setting_of_space_group,
    settings,
    settings_of_lattice,
    standard,
)

__all__ = [
    "BRAVAIS_LATTICES",
    "CONDITION_BITS",
    "N_GROUPS",
    "PUBLISHED_BITS",
    "ExtinctionGroup",
    "Reflections",
    "Relation",
    "Setting",
    "absence_free",
    "ancestors",
    "branch",
    "children",
    "condition_codes",
    "descendants",
    "distance_matrix",
    "edges",
    "group",
    "group_of_space_group",
    "groups",
    "parents",
    "published_codes",
    "relation",
    "setting_of_space_group",
    "settings",
    "settings_of_lattice",
    "space_group_symbols",
    "standard",
    "unique_reflections",
]
