"""Names that several parts of the library agree on: what a mapped query holds, and the columns of tables."""

from math import inf

from cellmemory import PREFIX, TERM_COLUMN

#: Columns of obs that mapping adds: to every query, and to one whose labels have levels.
LABEL, CONFIDENCE = f"{PREFIX}label", f"{PREFIX}confidence"
STATUS, REASON = f"{PREFIX}status", f"{PREFIX}reason"
NOVELTY, NOVELTY_P = f"{PREFIX}novelty", f"{PREFIX}novelty_p"
LABEL_SET, LINEAR_SHARE = f"{PREFIX}label_set", f"{PREFIX}linear_share"
ANSWER, ANSWER_LEVEL = f"{PREFIX}answer", f"{PREFIX}answer_level"
#: Those of every query, in their order: the lowest and the highest of numbers, None for text. Every cell has all of them.
CELL_COLUMNS: dict[str, tuple[float, float] | None] = {
    LABEL: None,
    CONFIDENCE: (0, 1),
    STATUS: None,
    REASON: None,
    NOVELTY: (-inf, inf),
    NOVELTY_P: (0, 1),
    LABEL_SET: None,
    LINEAR_SHARE: (0, 1),
}
#: What columns of obs that can group cells begin with, once a query is mapped.
MADE_BY_MAPPING = (LABEL, STATUS, ANSWER)
#: What a cell's status may be.
STATUSES = UNASSIGNED, AMBIGUOUS, ASSIGNED = "unassigned", "ambiguous", "assigned"
#: Columns of a consensus.
CONSENSUS_LABEL, CONSENSUS = f"{PREFIX}consensus_label", f"{PREFIX}consensus"
CONSENSUS_STATUS = f"{PREFIX}consensus_status"
#: What the status of a cell's consensus may be.
CONSENSUS_STATUSES = ["agreed", "split", "single", "unassigned"]

#: The term of a cell's label, in the user's own file.
ONTOLOGY = f"{PREFIX}{TERM_COLUMN}"
#: Columns of a query's clusters: each cell's, what most of that cluster's cells are, and whether it may be new.
CLUSTER, CLUSTER_LABEL, CANDIDATE = f"{PREFIX}cluster", f"{PREFIX}cluster_label", f"{PREFIX}candidate"
#: How probable it is that a cell is two cells (clusters/doublets), and from where on it may be.
DOUBLET_SCORE, LIKELY_DOUBLET = f"{PREFIX}doublet_score", 0.25
#: The columns of a table of cells' clusters.
CELL_CLUSTER_COLUMNS = (CLUSTER, CLUSTER_LABEL, CANDIDATE, DOUBLET_SCORE)
#: What a cluster may be: a type that the reference lacks, or a state; or neither.
TYPE, STATE, NEITHER = "yes", "state", "no"

#: Keys of obsm: the CLS token's embedding, how much it reads from each slot, the cell's place on the reference's map.
EMBEDDING, SLOT_USE, UMAP = "X_cellmemory", "X_cellmemory_slots", "X_umap"
#: The matrix of attention: cells x genes.
ATTENTION = "layers/attention"
#: Keys of varm: mean attention of each label's slots, (genes, labels x slots).
SLOT_WRITE, SLOT_READ = f"{PREFIX}slot_write", f"{PREFIX}slot_read"
#: Keys of uns: the reference's map, and of a slice which cells it has.
REFERENCE_MAP, SLICE = f"{PREFIX}reference", f"{PREFIX}slice"

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

CLUSTER_COLUMNS = ["cluster", "n_cells", "label", "label_share", "confidence", "assigned", "ambiguous", "unlike", "low_quality"]
CLUSTER_COLUMNS += [
    "excess",
    "kept_markers",
    "doublets",
    "candidate",
    "markers",
    "markers_against_label",
    "excess_genes",
    "known_as",
    "known_genes",
    "batches",
    "umap_1",
    "umap_2",
]

CLUSTER_MARKER_COLUMNS = ["cluster", "against", "rank", "gene", "expression_score", "expression_log2_change"]
CLUSTER_MARKER_COLUMNS += ["expression_adjusted_p_value", "fraction_expressing", "fraction_expressing_other", "n_cells"]
CLUSTER_MARKER_COLUMNS += ["n_cells_other"]

#: The last column of each table that is made of a mapped query: which one (see RunInfo.mapping).
MAPPING = "mapping"

#: Columns of tables of results that hold names and other text; all others hold numbers.
TEXT_COLUMNS = frozenset(["level", "contrast", "group", "slot", "direction", "gene", "differential"])
TEXT_COLUMNS |= {"method", "library", "term", "overlap", "genes", "part", "curve", "ranking"}
TEXT_COLUMNS |= {"cluster", "label", "candidate", "markers", "markers_against_label", "excess_genes"}
TEXT_COLUMNS |= {"known_as", "known_genes", "batches", "against", MAPPING}

#: Without those of the curves' points.
FAITHFULNESS_COLUMNS = ["group", "part", "curve", "ranking", "area", "gain", "gain_error", "n_cells"]
