"""SAEs as other tools leave them on disk: one file for each format."""
