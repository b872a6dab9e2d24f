"""The report: one self-contained HTML page of a sample or of a run, and MultiQC's custom content."""
