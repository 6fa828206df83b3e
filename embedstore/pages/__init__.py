"""What people look at: self-contained HTML pages, and text that is safe in terminals and spreadsheets."""
