"""Sums that do not depend on the order of their terms."""

#: Attention (0 to 1) is summed in units of 2**-34: whole numbers add up to the same in any order, so that the means of
#: scattered cells are those of the cells together to the last bit. A unit is finer than float32 is at 1e-3, and 2**29
#: cells of a label fit.
UNITS = 2.0**34
