#!/usr/bin/env python3
"""Makes bin/cellmemory/annotation/cell_ontology.tsv, the terms of the Cell Ontology by name and synonym.

    pip install cellxgene-ontology-guide==1.11.1
    scripts/make_cell_ontology.py

The Cell Ontology (Diehl et al. 2016, https://obofoundry.org/ontology/cl) is shared under CC BY 4.0.
"""

from pathlib import Path

from cellxgene_ontology_guide.ontology_parser import OntologyParser

TABLE = Path(__file__).resolve().parents[1] / "bin" / "cellmemory" / "annotation" / "cell_ontology.tsv"


def main() -> None:
    parser = OntologyParser()
    names = parser.get_term_label_to_id_map("CL")
    terms = sorted((term, name) for name, term in names.items() if not parser.is_term_deprecated(term))
    lines = ["\t".join((term, name, *parser.get_term_synonyms(term))) for term, name in terms]
    TABLE.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(f"Wrote {TABLE}: {len(lines):,} terms.")


if __name__ == "__main__":
    main()
