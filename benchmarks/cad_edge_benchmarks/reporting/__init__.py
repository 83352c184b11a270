"""Things that show: tables, headings, pages, drawings, targets and progress."""
