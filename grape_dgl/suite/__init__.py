"""Models x data sets x splits x seeds: a resumable benchmark, its long table, summary and report."""
