"""Groups of symmetry and the geometry of their quotients."""

from foretell.symmetry.groups import (
    Group,
    Orthogonal,
    Permutations,
    Product,
    Signs,
    Trivial,
)

__all__ = ["Group", "Orthogonal", "Permutations", "Product", "Signs", "Trivial"]
