"""Names that several parts of the library agree on."""

#: What our columns of obs begin with.
PREFIX = "cellmemory_"
