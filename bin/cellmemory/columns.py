"""Names that several parts of the library agree on: what our columns of obs begin with, and the columns of tables."""

#: What our columns of obs begin with.
PREFIX = "cellmemory_"

ATTENTION_COLUMNS = ["score", "specificity", "effect", "p_value", "adjusted_p_value"]
CONTRIBUTIONS = ("contribution", "cls_contribution", "linear_contribution")
CONTRIBUTION_RANKS = ("contribution_rank", "cls_rank", "linear_rank")
CONTRIBUTION_COLUMNS = [name for pair in zip(CONTRIBUTIONS, CONTRIBUTION_RANKS, strict=True) for name in pair]
EXPRESSION_COLUMNS = ["mean_expression", "fraction_expressing", "expression_log2_change", "expression_adjusted_p_value"]
EXPRESSION_COLUMNS += ["differential"]

TAG_COLUMNS = ["group", "rank", "gene", *ATTENTION_COLUMNS, *CONTRIBUTION_COLUMNS, *EXPRESSION_COLUMNS, "n_cells"]

SLOT_TAG_COLUMNS = ["group", "slot", "rank", "gene", "score", "read", "specificity", "mean_expression"]
SLOT_TAG_COLUMNS += ["fraction_expressing", "usage"]

CONTRAST_COLUMNS = ["contrast", "group", "direction", "rank", "gene", "score", "score_other", "log2_ratio", "effect", "p_value"]
CONTRAST_COLUMNS += ["adjusted_p_value", "mean_expression", "mean_expression_other", "fraction_expressing"]
CONTRAST_COLUMNS += ["fraction_expressing_other", "expression_log2_change", "expression_adjusted_p_value", "differential"]
CONTRAST_COLUMNS += ["n_cells", "n_cells_other"]

ENRICHMENT_COLUMNS = ["level", "contrast", "group", "slot", "method", "library", "term", "overlap", "p_value"]
ENRICHMENT_COLUMNS += ["adjusted_p_value", "odds_ratio", "nes", "genes", "background"]

#: Columns of tables of results that hold names and other text; all others hold numbers.
TEXT_COLUMNS = frozenset(["level", "contrast", "group", "slot", "direction", "gene", "differential"])
TEXT_COLUMNS |= {"method", "library", "term", "overlap", "genes", "part", "curve", "ranking"}

#: Without those of the curves' points.
FAITHFULNESS_COLUMNS = ["group", "part", "curve", "ranking", "area", "gain", "gain_error", "n_cells"]
