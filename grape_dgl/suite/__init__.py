"""The benchmark: models x data sets x splits x seeds, and models that run as themselves."""
