"""A report as people read it: one page of HTML, and Markdown; from its JSON, so that old reports render too."""
