"""A report as people read it, one page of HTML or Markdown: made of its JSON, so that old ones render too."""
